/* SPDX-License-Identifier: Apache-2.0
 * namespaces.c - namespaces, ids, capabilities and the empty root.
 *
 * The Sentry becomes an ordinary uid first and makes its user namespace as that uid: then one path
 * serves root and everybody, every file it creates and every process it starts has that uid, and no
 * privilege outside is left to lose. Root becomes ID_NOBODY; where the host refuses user namespaces
 * to ordinary uids, root starts anew (in another process: this one has nothing left to go back to) and
 * keeps its capabilities across the change of uid instead.
 *
 * A network namespace takes the host four times as long as all the others together. So it is made by the
 * process that was to make the others, while its child goes on, and the child enters it by descriptor.
 *
 * Order matters and is tested: changing uid makes a process undumpable, which gives /proc/self to
 * root and makes uid_map unwritable, so dumpable is set before the map; unshare(CLONE_NEWPID)
 * counts for children only, so the caller forks; capabilities belong to a thread, so they are
 * dropped while there is only one.
 *
 * ThreadSanitizer starts a thread of its own before main(), which rules all of this out: such a
 * build isolates nothing and says so.
 *
 * The empty root is a detached tmpfs that nothing is ever put on, entered by descriptor: no
 * directory of the host is needed to hold it.
 * Host: capget, capset, chdir, chroot, close, fchdir, mount, open, prctl, recvmsg, sendmsg, setgroups,
 *   setns, setresgid, setresuid, unshare, write [before confinement]
 */
#include <isolate/isolate.h>

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/log.h>

#include "isolate_private.h"

#define ID_NOBODY 65534
#define CAP_BIT(c) (1ULL << (c))
#define NAMESPACES (CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWNS | CLONE_NEWUTS) /* and NEWNET */

static struct {
    int empty_root; /* descriptor of the detached tmpfs, -1 */
    bool dropped;
} g_isolate = {.empty_root = -1};

/* --- capabilities --- */

static int caps_set(uint64_t set)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {
        {.effective = (uint32_t)set, .permitted = (uint32_t)set},
        {.effective = (uint32_t)(set >> 32), .permitted = (uint32_t)(set >> 32)},
    };
    return syscall(SYS_capset, &h, d) ? -errno : 0;
}

static int caps_permitted(uint64_t *ret)
{
    struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct d[2] = {{0}};
    if (syscall(SYS_capget, &h, d))
        return -errno;
    *ret = d[0].permitted | (uint64_t)d[1].permitted << 32;
    return 0;
}

int caps_keep(uint64_t keep)
{
    uint64_t have = 0;
    int err = caps_permitted(&have);
    if (err)
        return err;
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (have & CAP_BIT(CAP_SETPCAP)) {
        for (unsigned long c = 0; c < 64; c++)
            if (prctl(PR_CAPBSET_DROP, c, 0, 0, 0) && errno != EINVAL)
                return -errno;
        /* uid 0 gives nothing any more, neither by setuid nor by execve; for good */
        unsigned long bits =
            (SECURE_ALL_BITS | SECURE_ALL_LOCKS) & ~(unsigned long)SECBIT_KEEP_CAPS;
        if (prctl(PR_SET_SECUREBITS, bits, 0, 0, 0))
            return -errno;
    }
    return caps_set(have & keep);
}

/* --- namespaces --- */

static int file_write(const char *path, const char *text)
{
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write(fd, text, strlen(text)) == (ssize_t)strlen(text) ? 0 : -errno;
}

static int become_nobody(const char **ret_what)
{
    if (setgroups(0, NULL) || setresgid(ID_NOBODY, ID_NOBODY, ID_NOBODY) ||
        setresuid(ID_NOBODY, ID_NOBODY, ID_NOBODY))
        return step_failed(ret_what, "setuid");
    return 0;
}

int isolate_become_nobody(void)
{
    const char *what;
    return become_nobody(&what);
}

static int user_namespace(const char **ret_what)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (unshare(CLONE_NEWUSER | NAMESPACES))
        return step_failed(ret_what, "unshare");
    int err = file_write("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", uid, uid);
    if (!err)
        err = file_write("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "%u %u 1", gid, gid);
    if (!err)
        err = file_write("/proc/self/gid_map", map);
    if (err)
        *ret_what = "uid_map";
    return err;
}

static int become_nobody_with_caps(const char **ret_what)
{
    uint64_t caps = 0;
    caps_permitted(&caps);
    prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0);
    int err = become_nobody(ret_what);
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (!err && (err = caps_set(caps)))
        *ret_what = "capset";
    return err;
}

/* Root's way into a user namespace; no way back from becoming nobody. */
static int user_namespace_of_nobody(const char **ret_what)
{
    int err = become_nobody(ret_what);
    if (err)
        return err;
    err = user_namespace(ret_what);
    return err && strcmp(*ret_what, "unshare") == 0 ? -EOPNOTSUPP : err;
}

int isolate_namespaces(enum isolate_user how, const char **ret_what)
{
    int err = 0;
    if (BUILD_TSAN) {
        log_warn("isolate", "ThreadSanitizer build: nothing is isolated");
        return 0;
    }
    if (how == ISOLATE_OWN_USER)
        err = geteuid() ? user_namespace(ret_what) : user_namespace_of_nobody(ret_what);
    else if (unshare(NAMESPACES))
        return step_failed(ret_what, "unshare");
    else if (how == ISOLATE_BY_RIGHT)
        err = become_nobody_with_caps(ret_what); /* kept for the setup */
    if (err)
        return err;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return step_failed(ret_what, "private mounts");
    return 0;
}

/* One descriptor with one byte. */
union fd_message {
    char buf[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int isolate_net_give(int sock, const char **ret_what)
{
    if (BUILD_TSAN)
        return 0;
    *ret_what = "network namespace";
    if (unshare(CLONE_NEWNET))
        return -errno;
    autoclose int fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    union fd_message control = {0};
    struct iovec iov = {.iov_base = "", .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.buf,
                       .msg_controllen = sizeof control.buf};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    h->cmsg_level = SOL_SOCKET;
    h->cmsg_type = SCM_RIGHTS;
    h->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(h), &fd, sizeof fd);
    return sendmsg(sock, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int isolate_net_take(int sock, const char **ret_what)
{
    if (BUILD_TSAN)
        return 0;
    *ret_what = "network namespace";
    union fd_message control = {0};
    char byte;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.buf,
                       .msg_controllen = sizeof control.buf};
    ssize_t n;
    while ((n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
        ;
    if (n < 0)
        return -errno;
    struct cmsghdr *h = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;
    if (!h || h->cmsg_type != SCM_RIGHTS || h->cmsg_len != CMSG_LEN(sizeof(int)))
        return -ECHILD; /* who was to make it died, and said why */
    autoclose int fd = -1;
    memcpy(&fd, CMSG_DATA(h), sizeof fd);
    return setns(fd, CLONE_NEWNET) ? -errno : 0;
}

/* --- the way down --- */

static int empty_root_make(void)
{
    autoclose int ctx = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (ctx < 0)
        return -errno;
    if (fsconfig(ctx, FSCONFIG_SET_STRING, "size", "4096", 0) ||
        fsconfig(ctx, FSCONFIG_SET_STRING, "mode", "0111", 0) ||
        fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -errno;
    int fd = fsmount(ctx, FSMOUNT_CLOEXEC,
                     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    return fd < 0 ? -errno : fd;
}

int isolate_drop(const char **ret_what)
{
    if (g_isolate.dropped)
        return 0;
    if (BUILD_TSAN) {
        g_isolate.dropped = true;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? step_failed(ret_what, "no_new_privs") : 0;
    }
    /* Fails with several threads: the others would keep what this one drops. */
    if (unshare(CLONE_THREAD)) {
        *ret_what = "threads were started before capabilities were dropped";
        return -EBUSY;
    }
    int fd = empty_root_make();
    if (fd < 0) {
        *ret_what = "empty root";
        return fd;
    }
    g_isolate.empty_root = fd;
    int err = geteuid() == 0 ? become_nobody_with_caps(ret_what) : 0; /* after keep_user */
    if (err)
        return err;
    err = caps_keep(CAP_BIT(CAP_SYS_CHROOT));
    if (err) {
        *ret_what = "capabilities";
        return err;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return step_failed(ret_what, "no_new_privs");
    g_isolate.dropped = true;
    return 0;
}

int isolate_enter_empty_root(const char **ret_what)
{
    if (BUILD_TSAN)
        return 0;
    if (fchdir(g_isolate.empty_root) || chroot(".") || chdir("/"))
        return step_failed(ret_what, "chroot");
    close(g_isolate.empty_root);
    g_isolate.empty_root = -1;
    int err = caps_set(0);
    if (err)
        *ret_what = "capabilities";
    return err;
}
