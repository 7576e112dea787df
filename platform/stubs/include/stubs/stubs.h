/* SPDX-License-Identifier: Apache-2.0
 * stubs.h - what the backends share whose guests live in stub processes: the pages that all of these
 * map, facts about the host, the birth of the first one, lists of memory operations. */
#ifndef STUBS_STUBS_H
#define STUBS_STUBS_H

#include <sched.h>
#include <sys/types.h>

#include <base/platform.h>
#include <guestlib/stub.h>
#include <host/memfile.h>

#define LIST_MAX (STUB_REQ_BYTES / STUB_OP_SIZE - 1) /* operations in one list */
#define RANGES_CACHED 64                             /* free lanes, request pages kept populated */

/* Of the one backend in use; set by stubs_init() and stubs_ids(). */
struct stubs {
    struct memfile *mf;
    int memfd;
    bool pin;             /* guests have CPUs of their own */
    bool roam;            /* guest threads may use all_cpus now */
    cpu_set_t guest_cpus; /* theirs when the pollers have CPUs of their own */
    cpu_set_t all_cpus;
    uint32_t uid, gid; /* UINT32_MAX: unchanged */
    uint64_t text_off, text_len, ro_off;
    uint8_t *ro;             /* the Sentry's alias of STUB_RO */
    struct pf_limits limits; /* the Sentry cannot ask once it is confined */
    /* fpu.c */
    uint32_t fpu_size; /* of the extended state in a host signal frame, end mark included */
    uint64_t fpu_features;
};
extern struct stubs g_stubs;

/* Before confinement. 0, -EINVAL (@guest_cpus), -ENOMEM; what it took is given back by the other. */
int stubs_init(struct memfile *mf, const char *guest_cpus);
void stubs_fini(void);
uint8_t *stubs_globals(void); /* the Sentry's alias of STUB_GLOBALS */
/* Which CPUs guest threads to come take (GLOBALS_CPUS); no effect without CPUs of their own. */
void stubs_roam(bool roam);

/* CPU time of a process, ns; 0: unknown. */
uint64_t stubs_cpu_ns(pid_t pid);

/* ranges.c: lanes and request pages. Populated; not zeroed. 0, -ENOMEM. */
enum range_kind { RANGE_LANE, RANGE_REQ };
int range_get(enum range_kind kind, uint64_t *ret_off);
void range_put(enum range_kind kind, uint64_t off);
void ranges_free_all(void);

/* fpu.c */
void fpu_init(void);
/* Make an image safe to restore from. -EINVAL when it is none of this host's. */
int fpu_sanitize(uint8_t *image, size_t len);

/* list.c: one operation for a mapper. Addresses outside what guests may use: -EINVAL. */
int list_translate(const struct pf_memop *o, struct stub_op *ret);
int list_host_fd(int slot); /* descriptor in the stub of a slot */

/* birth.c: steps of the first stub process, on a copy of the Sentry: raw calls only. */
int birth_drop_privilege(void);
void birth_forget_libc(void); /* rseq, robust list: this memory is about to go */
int birth_map(uint64_t req_off);
/* All signals to default, but @signals to @handler on the alternate stack. @mask: what is blocked from
 * now on; @in_handler: what is in the handler; 0: nothing, not even the signal itself. */
int birth_handlers(const int *signals, size_t n, uint64_t handler, uint64_t in_handler,
                   uint64_t mask);
/* Operations, from @n on, that unmap all but the stub's pages and the vDSO. Return: their end. */
unsigned birth_forget_memory(struct stub_op *op, unsigned n);
/* The first list: leave the shared descriptor table, keep the memory file alone, unmap all but the
 * stub's pages and the vDSO. Return: operations, end mark not counted. */
unsigned birth_first_list(struct stub_op *op);
/* Does @p lie where the stub's pages go? Nothing used during the birth may. */
bool birth_in_region(const void *p);

#endif
