/* SPDX-License-Identifier: Apache-2.0
 * boot.h - from a confined process to a running sandbox: mounts, first process. */
#ifndef SERVICE_BOOT_H
#define SERVICE_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#include <service/command.h>

struct memfile;

/* What the CLI writes to the control pipe: a signal number to pass on, or one of these. The questions
 * are answered, each when the last one has been, by a uint32_t length and as many bytes of text. */
#define CONTROL_END 128  /* the command is killed, the sandbox ends; no answer */
#define CONTROL_PING 129 /* an empty answer: all before it has been taken */
#define CONTROL_STATS_TEXT 130
#define CONTROL_STATS_JSON 131
#define CONTROL_PS_TEXT 132
#define CONTROL_PS_JSON 133
#define CONTROL_STOPPED \
    134 /* a byte if the command is stopped in its terminal's foreground, else empty */

/* What is mounted where, in order. A place that is not there is made if that changes nothing on the
 * host. */
enum boot_mount_kind {
    BOOT_BIND,
    BOOT_OVERLAY /* the same under a layer in memory */,
    BOOT_TMPFS,
    BOOT_9P_SERVER
};
struct boot_mount {
    enum boot_mount_kind kind;
    int sock; /* 9P; -1 for a tmpfs */
    const char *source, *target;
    const char *aname;
    bool read_only;
    bool exclusive; /* nobody else changes it: cached; else asked again, locks also at the server */
    uint64_t size_bytes; /* of a tmpfs; 0: no limit of its own */
    uint32_t mode;       /* of a tmpfs; 0: as /tmp's */
};

/* A name that is not hidden, and UNVEIL_* of it. */
struct boot_unveil {
    const char *path;
    unsigned may;
};

/* Everything the Sentry was given; descriptors are taken over. */
struct boot_config {
    int root_sock; /* 9P: the root file system */
    const char *root_source;
    bool root_rw,
        root_exclusive; /* written through; otherwise an overlay in memory takes changes */
    const struct boot_mount *mounts;
    unsigned mount_count;
    struct command command;
    int control; /* bytes from the CLI; -1: none */
    int answers; /* to the CLI */
    int attach;  /* service/attach.h: requests with descriptors; -1: none */
    const char *hostname;
    uint32_t pid_max;
    const struct boot_unveil *unveil; /* what commands see; none: everything */
    unsigned unveil_count;
    const uint32_t *pledge; /* PLEDGE_* of commands; NULL: they promise nothing */
    struct memfile *memfile;
};

/* Before confinement: tables, hooks, host facts; all that needs neither platform nor memory file. At any
 * time before the other, which has it done if nobody did. 0 or -errno. */
int boot_ahead(const struct boot_config *cfg);
/* Before confinement, behind service_init(): the rest. 0 or -errno. */
int boot_prepare(const struct boot_config *cfg);
/* On a fiber of poller 0 (service_run's fn; arg = the same boot_config). Failure stops the service
 * with exit status 125, 126 or 127 and one line on the log descriptor. */
void boot_run(void *cfg);

#endif
