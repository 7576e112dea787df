/* SPDX-License-Identifier: Apache-2.0
 * landlock.c - what the gofer's opens may reach, as the host sees it: a second fence behind
 * openat2.
 *
 * Never: executing, making devices. Without writable exports: no change of any kind. With exports
 * named, reading and changing only beneath them. A host without Landlock (or with one that forbids
 * every rename between directories, ABI 1, when there are writable exports) leaves it out.
 *
 * Left out: rights newer than ABI 3 (network, device ioctls, sockets): the seccomp list has no such
 * calls.
 * Host: close, fcntl, fstat, landlock_add_rule, landlock_create_ruleset, landlock_restrict_self,
 *   open [before confinement]
 */
#include <isolate/isolate.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/log.h>

#include "isolate_private.h"

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

#define NEVER \
    (LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
#define READING (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define CHANGING                                                                                  \
    (LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |                              \
     LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG | \
     LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_SYM)
/* What a rule on something that is no directory may name. */
#define OF_A_FILE \
    (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE)

static struct {
    int fd[ISOLATE_EXPORTS_MAX];
    bool writable[ISOLATE_EXPORTS_MAX];
    int count;
} g_exports;

int isolate_gofer_allow(int dirfd, bool writable)
{
    if (g_exports.count == ISOLATE_EXPORTS_MAX)
        return -ENFILE;
    int fd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return -errno;
    g_exports.fd[g_exports.count] = fd;
    g_exports.writable[g_exports.count++] = writable;
    return 0;
}

static int rule_add(int ruleset, int fd, uint64_t rights)
{
    struct stat st;
    if (fstat(fd, &st))
        return -errno;
    if (!S_ISDIR(st.st_mode))
        rights &= OF_A_FILE;
    struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    if (!rights)
        return 0;
    return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ? -errno
                                                                                         : 0;
}

static int rules_add(int ruleset, uint64_t changing, bool writable)
{
    int err = 0;
    if (!g_exports.count && writable) {
        autoclose int root = open("/", O_PATH | O_CLOEXEC);
        return root < 0 ? -errno : rule_add(ruleset, root, changing);
    }
    for (int i = 0; !err && i < g_exports.count; i++)
        err = rule_add(ruleset, g_exports.fd[i],
                       READING | (g_exports.writable[i] && writable ? changing : 0));
    return err;
}

int landlock_apply(bool writable)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1 || (abi == 1 && writable)) {
        log_debug("isolate", "no landlock, abi=%ld", abi);
        return 0;
    }
    uint64_t changing = CHANGING;
    if (abi >= 2)
        changing |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        changing |= LANDLOCK_ACCESS_FS_TRUNCATE;
    struct landlock_ruleset_attr attr = {.handled_access_fs = NEVER | changing};
    if (g_exports.count)
        attr.handled_access_fs |= READING;
    autoclose int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof attr, 0);
    if (ruleset < 0)
        return -errno;
    int err = rules_add(ruleset, changing, writable);
    for (int i = 0; i < g_exports.count; i++)
        close(g_exports.fd[i]);
    g_exports.count = 0;
    if (!err && syscall(SYS_landlock_restrict_self, ruleset, 0))
        err = -errno;
    return err;
}
