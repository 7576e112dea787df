/* SPDX-License-Identifier: Apache-2.0
 * host_tty.c - ioctls of the host's terminal.
 *
 * Settings, window size and queue lengths are the host's: structures are copied through a local
 * buffer of the size the command fixes. What waits on the host (drain) does not wait here. Sessions
 * and process groups are the sandbox's own: the terminal belongs to the session that asks first.
 *
 * A guest may change its terminal's settings, as any program the user runs there; it cannot fake
 * input (no TIOCSTI) or take the terminal from the host's session.
 *
 * Lock: g_tty.lock (RANK_LEAF). Left out: SIGTTIN and SIGTTOU for background groups.
 * Host: ioctl [sentry-run] */
#include <sys/ioctl.h>
#include <termios.h>

#include <kernel/task.h>

#include "hostfile.h"

#define KERNEL_TERMIOS_SIZE 36  /* struct termios of the kernel, 19 control characters */
#define KERNEL_TERMIOS2_SIZE 44 /* and two speeds */
#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_TCSETS2 0x402c542bu
#define IOCTL_TCSETSW2 0x402c542cu
#define IOCTL_TCSETSF2 0x402c542du

static struct {
    struct spin lock;
    int32_t sid, pgid; /* 0: nobody has it */
} g_tty = {.lock = SPIN_INIT(RANK_LEAF)};

static void task_session(struct task *t, int32_t *ret_sid, int32_t *ret_pgid)
{
    spin_lock(&g_pids);
    struct pgroup *g = t->process->group;
    *ret_sid = g ? g->sid : 0;
    *ret_pgid = g ? g->pgid : 0;
    spin_unlock(&g_pids);
}

/* Is there a process of group @pgid in session @sid? */
static bool group_in_session(int32_t pgid, int32_t sid)
{
    bool found = false;
    int32_t pid = 0;

    for (;;) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p || found)
            return found;
        pid = p->pid;
        spin_lock(&g_pids);
        found = p->group && p->group->pgid == pgid && p->group->sid == sid;
        spin_unlock(&g_pids);
    }
}

int32_t hostfile_foreground(void)
{
    spin_lock(&g_tty.lock);
    int32_t pgid = g_tty.pgid;
    spin_unlock(&g_tty.lock);
    return pgid;
}

static sysret_t tty_group_get(struct task *t, uint32_t cmd, uint64_t arg)
{
    int32_t sid, pgid, value;

    task_session(t, &sid, &pgid);
    spin_lock(&g_tty.lock);
    if (!g_tty.sid) {
        g_tty.sid = sid;
        g_tty.pgid = pgid;
    }
    bool ours = g_tty.sid == sid;
    value = cmd == TIOCGSID ? g_tty.sid : g_tty.pgid;
    spin_unlock(&g_tty.lock);
    return ours ? copy_out_obj(t->mm, UADDR(arg), &value) : -ENOTTY;
}

static sysret_t tty_group_set(struct task *t, uint64_t arg)
{
    int32_t sid, pgid, value;

    if (copy_in_obj(t->mm, &value, UADDR(arg)))
        return -EFAULT;
    if (value < 0)
        return -EINVAL;
    task_session(t, &sid, &pgid);
    if (!group_in_session(value, sid))
        return -EPERM;
    spin_lock(&g_tty.lock);
    if (!g_tty.sid)
        g_tty.sid = sid;
    bool ours = g_tty.sid == sid;
    if (ours)
        g_tty.pgid = value;
    spin_unlock(&g_tty.lock);
    return ours ? 0 : -ENOTTY;
}

static sysret_t tty_session_set(struct task *t, bool take)
{
    int32_t sid, pgid;

    task_session(t, &sid, &pgid);
    if (take && sid != t->process->pid)
        return -EPERM; /* only a session leader takes a terminal */
    spin_lock(&g_tty.lock);
    sysret_t r = 0;
    if (take && g_tty.sid && g_tty.sid != sid)
        r = -EPERM;
    else if (!take && g_tty.sid != sid)
        r = -ENOTTY;
    else if (take)
        g_tty.sid = sid, g_tty.pgid = pgid;
    else if (sid == t->process->pid)
        g_tty.sid = g_tty.pgid = 0;
    spin_unlock(&g_tty.lock);
    return r;
}

static sysret_t tty_pass_out(struct hostfile *h, struct task *t, uint32_t cmd, uint64_t arg,
                             size_t size)
{
    char buf[64] = {0};

    if (ioctl(h->fd, cmd, buf) < 0)
        return -errno;
    return copy_out(t->mm, UADDR(arg), buf, size);
}

static sysret_t tty_pass_in(struct hostfile *h, struct task *t, uint32_t cmd, uint64_t arg,
                            size_t size)
{
    char buf[64] = {0};

    if (copy_in(t->mm, buf, UADDR(arg), size))
        return -EFAULT;
    return ioctl(h->fd, cmd, buf) < 0 ? -errno : 0;
}

static sysret_t tty_set_flush(struct hostfile *h, struct task *t, uint32_t cmd, uint64_t arg,
                              size_t size)
{
    if (ioctl(h->fd, TCFLSH, TCIFLUSH) < 0)
        return -errno;
    return tty_pass_in(h, t, cmd, arg, size);
}

static sysret_t tty_settings(struct hostfile *h, struct task *t, uint32_t cmd, uint64_t arg)
{
    switch (cmd) {
    case TCGETS:
        return tty_pass_out(h, t, TCGETS, arg, KERNEL_TERMIOS_SIZE);
    case IOCTL_TCGETS2:
        return tty_pass_out(h, t, cmd, arg, KERNEL_TERMIOS2_SIZE);
    case TCSETS:
    case TCSETSW: /* output goes straight to the host: nothing of ours to drain */
        return tty_pass_in(h, t, TCSETS, arg, KERNEL_TERMIOS_SIZE);
    case TCSETSF:
        return tty_set_flush(h, t, TCSETS, arg, KERNEL_TERMIOS_SIZE);
    case IOCTL_TCSETS2:
    case IOCTL_TCSETSW2:
        return tty_pass_in(h, t, IOCTL_TCSETS2, arg, KERNEL_TERMIOS2_SIZE);
    case IOCTL_TCSETSF2:
        return tty_set_flush(h, t, IOCTL_TCSETS2, arg, KERNEL_TERMIOS2_SIZE);
    case TIOCGWINSZ:
        return tty_pass_out(h, t, cmd, arg, sizeof(struct winsize));
    case TIOCSWINSZ:
        return tty_pass_in(h, t, cmd, arg, sizeof(struct winsize));
    default:
        return -ENOTTY;
    }
}

sysret_t hostfile_stream_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    if (cmd != FIONREAD)
        return -ENOTTY;
    return tty_pass_out(f->private_data, t, cmd, arg, sizeof(int));
}

sysret_t hostfile_tty_ioctl(struct file *f, struct task *t, uint32_t cmd, uint64_t arg)
{
    struct hostfile *h = f->private_data;

    switch (cmd) {
    case FIONREAD:
    case TIOCOUTQ:
        return tty_pass_out(h, t, cmd, arg, sizeof(int));
    case TIOCGPGRP:
    case TIOCGSID:
        return tty_group_get(t, cmd, arg);
    case TIOCSPGRP:
        return tty_group_set(t, arg);
    case TIOCSCTTY:
        return tty_session_set(t, true);
    case TIOCNOTTY:
        return tty_session_set(t, false);
    case TCFLSH:
        if (arg > TCIOFLUSH)
            return -EINVAL;
        return ioctl(h->fd, TCFLSH, arg) < 0 ? -errno : 0;
    case TCSBRK:
    case TCSBRKP: /* drained already; a break means nothing to a pseudo terminal */
        return 0;
    default:
        return tty_settings(h, t, cmd, arg);
    }
}
