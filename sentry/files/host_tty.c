/* SPDX-License-Identifier: Apache-2.0
 * host_tty.c - ioctls of the host's terminal.
 *
 * Settings, window size and queue lengths are the host's: structures are copied through a local
 * buffer of the size the command fixes. What waits on the host (drain) does not wait here. Sessions
 * and process groups are the sandbox's own (tty_job.c): the terminal belongs to the first process's.
 *
 * A guest may change its terminal's settings, as any program the user runs there; it cannot fake
 * input (no TIOCSTI) or take the terminal from the host's session.
 *
 * No locks.
 * Host: ioctl [sentry-run] */
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "hostfile.h"

#define KERNEL_TERMIOS_SIZE 36  /* struct termios of the kernel, 19 control characters */
#define KERNEL_TERMIOS2_SIZE 44 /* and two speeds */
#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_TCSETS2 0x402c542bu
#define IOCTL_TCSETSW2 0x402c542cu
#define IOCTL_TCSETSF2 0x402c542du

struct tty_job g_host_tty;

int32_t hostfile_foreground(void)
{
    return tty_job_foreground(&g_host_tty);
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
    bool reads = cmd == TCGETS || cmd == IOCTL_TCGETS2 || cmd == TIOCGWINSZ || cmd == TIOCSWINSZ;
    int r = reads ? 0 : tty_job_check(&g_host_tty, t, SIGTTOU);

    if (r)
        return r;
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
    case TIOCSPGRP:
    case TIOCSCTTY:
    case TIOCNOTTY:
        return tty_job_ioctl(&g_host_tty, t, cmd, arg, false);
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
