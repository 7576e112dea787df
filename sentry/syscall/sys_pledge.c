/* SPDX-License-Identifier: Apache-2.0
 * sys_pledge.c - what promises a call needs besides those of its row: from the registers here, from
 * what handlers have copied by pledge_need() there (promises.def says which).
 *
 * Everything here is the Sentry's copy: what is checked is what is used. */
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sys_pledge.h"

#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_KIND(cmd) (((cmd) >> 8) & 0xffu)
#define IOCTL_TTY 'T'
#define IOCTL_SOCKET 0x89u

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif

int sys_refused(struct call *c, const struct sys_row *r)
{
    uint32_t have = pledge_of(c->task);

    if (!(have & r->promises))
        return pledge_refuse(c->task, r->promises);
    const struct sys_promise *more = sys_promise(c->nr);
    uint32_t lacks = more->by ? more->by(c) & ~have : 0;
    return lacks ? pledge_refuse(c->task, lacks) : 0;
}

/* --- memory --- */

uint32_t promises_by_protection(struct call *c)
{
    return c->args[2] & PROT_EXEC ? PLEDGE_PROT_EXEC : 0;
}

uint32_t promises_by_shmat(struct call *c)
{
    return c->args[2] & SHM_EXEC ? PLEDGE_PROT_EXEC : 0;
}

/* --- processes --- */

uint32_t promises_of_clone(uint64_t flags)
{
    return flags & CLONE_THREAD ? 0 : PLEDGE_PROC;
}

uint32_t promises_by_clone(struct call *c)
{
    return promises_of_clone(c->args[0]);
}

uint32_t promises_by_signal(struct call *c)
{
    return (int32_t)c->args[0] == c->task->process->pid ? 0 : PLEDGE_PROC;
}

uint32_t promises_by_signal_thread(struct call *c)
{
    struct task *to AUTO_PUT(task) = task_find((int32_t)c->args[0]);

    return to && to->process == c->task->process ? 0 : PLEDGE_PROC;
}

uint32_t promises_by_prlimit(struct call *c)
{
    int32_t pid = (int32_t)c->args[0];

    return (pid && pid != c->task->process->pid) || c->args[2] ? PLEDGE_PROC : 0;
}

uint32_t promises_by_prctl(struct call *c)
{
    switch ((int32_t)c->args[0]) {
    case PR_SET_NAME:
    case PR_GET_NAME:
    case PR_SET_DUMPABLE:
    case PR_GET_DUMPABLE:
    case PR_SET_PDEATHSIG:
    case PR_GET_PDEATHSIG:
    case PR_SET_TIMERSLACK:
    case PR_GET_TIMERSLACK:
    case PR_SET_NO_NEW_PRIVS:
    case PR_GET_NO_NEW_PRIVS:
    case PR_GET_TID_ADDRESS:
    case PR_GET_KEEPCAPS:
    case PR_GET_SECUREBITS:
    case PR_GET_SECCOMP:
    case PR_GET_TIMING:
    case PR_GET_THP_DISABLE:
    case PR_GET_CHILD_SUBREAPER:
    case PR_CAPBSET_READ:
    case PR_SET_VMA:
        return 0;
    case PR_SET_CHILD_SUBREAPER:
        return PLEDGE_PROC;
    case PR_SET_KEEPCAPS:
    case PR_CAPBSET_DROP:
        return PLEDGE_ID;
    case PR_CAP_AMBIENT:
        return c->args[1] == PR_CAP_AMBIENT_IS_SET ? 0 : PLEDGE_ID;
    default:
        return PLEDGE_NEVER;
    }
}

/* --- files --- */

uint32_t promises_of_open(uint32_t flags)
{
    static const uint32_t modes[] = {PLEDGE_RPATH, PLEDGE_WPATH, PLEDGE_RPATH | PLEDGE_WPATH,
                                     PLEDGE_RPATH | PLEDGE_WPATH};

    if (flags & O_PATH)
        return PLEDGE_RPATH;
    uint32_t need = modes[flags & O_ACCMODE];
    if (flags & O_TRUNC)
        need |= PLEDGE_WPATH;
    if ((flags & O_CREAT) || (flags & O_TMPFILE & ~(uint32_t)O_DIRECTORY))
        need |= PLEDGE_CPATH;
    return need;
}

static uint32_t promises_of_mknod(uint64_t mode)
{
    return (mode & S_IFMT) == 0 || S_ISREG(mode) ? PLEDGE_CPATH : PLEDGE_DPATH;
}

uint32_t promises_by_mknod(struct call *c)
{
    return promises_of_mknod(c->args[1]);
}

uint32_t promises_by_mknodat(struct call *c)
{
    return promises_of_mknod(c->args[2]);
}

uint32_t promises_by_fcntl(struct call *c)
{
    switch ((uint32_t)c->args[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
    case F_GETFD:
    case F_SETFD:
    case F_GETFL:
    case F_SETFL:
    case F_GETOWN:
    case F_GETOWN_EX:
    case F_GETSIG:
    case F_GETPIPE_SZ:
    case F_SETPIPE_SZ:
    case F_ADD_SEALS:
    case F_GET_SEALS:
        return 0;
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return PLEDGE_FLOCK;
    case F_SETOWN:
    case F_SETOWN_EX:
    case F_SETSIG:
        return PLEDGE_PROC;
    default:
        return PLEDGE_NEVER;
    }
}

uint32_t promises_by_ioctl(struct call *c)
{
    uint32_t cmd = (uint32_t)c->args[1];

    switch (cmd) {
    case FIOCLEX:
    case FIONCLEX:
    case FIONBIO:
    case FIOASYNC:
    case FIONREAD:
    case TCGETS:
    case IOCTL_TCGETS2:
    case TIOCGWINSZ:
    case TIOCGPGRP:
    case TIOCOUTQ:
    case FIOGETOWN:
    case SIOCGPGRP:
    case SIOCATMARK:
        return 0;
    case FIOSETOWN:
    case SIOCSPGRP:
        return PLEDGE_PROC;
    default:
        break;
    }
    if (IOCTL_KIND(cmd) == IOCTL_TTY)
        return PLEDGE_TTY;
    if (IOCTL_KIND(cmd) == IOCTL_SOCKET)
        return pledge_of(c->task) & PLEDGE_ROUTE ? 0 : PLEDGE_INET;
    return PLEDGE_NEVER;
}

/* --- sockets --- */

uint32_t promises_of_family(int domain)
{
    return domain == AF_UNIX                         ? PLEDGE_UNIX
           : domain == AF_INET || domain == AF_INET6 ? PLEDGE_INET
           : domain == AF_NETLINK                    ? PLEDGE_ROUTE
                                                     : 0; /* there is none */
}

uint32_t promises_by_socket(struct call *c)
{
    return promises_of_family((int32_t)c->args[0]);
}

uint32_t promises_by_sockopt(struct call *c)
{
    int32_t level = (int32_t)c->args[1];

    return level == SOL_SOCKET ? 0 : level == SOL_NETLINK ? PLEDGE_ROUTE : PLEDGE_INET;
}
