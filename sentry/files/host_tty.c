/* SPDX-License-Identifier: Apache-2.0
 * host_tty.c - terminals of the host: whose they are inside, their ioctls.
 *
 * Each caller with a terminal (`run`, `exec`) gives it to the session of its command. When an `exec`
 * ends or its caller goes, that terminal is hung up: what still runs on it reads the end.
 *
 * Settings, window size and queue lengths are the host's: structures are copied through a local
 * buffer of the size the command fixes. What waits on the host (drain) does not wait here. Sessions
 * and process groups are the sandbox's own (tty_job.c).
 *
 * A guest may change its terminal's settings, as any program the user runs there; it cannot fake
 * input (no TIOCSTI) or take the terminal from the host's session.
 *
 * Locks: a terminal's own for its list of descriptors (RANK_OBJECT).
 * Host: ioctl [sentry-run] */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "hostfile.h"

#define HOST_TERMINAL_FILES 3   /* stdin, stdout, stderr */
#define KERNEL_TERMIOS_SIZE 36  /* struct termios of the kernel, 19 control characters */
#define KERNEL_TERMIOS2_SIZE 44 /* and two speeds */
#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_TCSETS2 0x402c542bu
#define IOCTL_TCSETSW2 0x402c542cu
#define IOCTL_TCSETSF2 0x402c542du

/* --- terminals and the sessions they belong to --- */

static struct host_terminal *g_console; /* a reference, never dropped; set at the start */

static struct host_terminal *terminal_of(struct tty_job *j)
{
    return container_of(j, struct host_terminal, job);
}

static void terminal_get(struct tty_job *j)
{
    hostfile_get(terminal_of(j)->console);
}

static int terminal_open(struct tty_job *j, struct file *f)
{
    return hostfile_open(terminal_of(j)->console, f);
}

struct host_terminal *host_terminal_new(void)
{
    struct host_terminal *t = calloc(1, sizeof *t);

    if (!t)
        return NULL;
    refcount_init(&t->ref);
    spin_init(&t->lock, RANK_OBJECT);
    list_init(&t->files);
    t->job = (struct tty_job){
        .rdev = (uint32_t)makedev(5, 1), .get = terminal_get, .open = terminal_open};
    return t;
}

void host_terminal_put(struct host_terminal *t)
{
    if (t && refcount_put(&t->ref))
        free(t);
}

void host_terminal_join(struct host_terminal *t, struct hostfile *h)
{
    refcount_get(&t->ref);
    h->terminal = t;
    spin_lock(&t->lock);
    list_add_tail(&h->terminal_link, &t->files);
    spin_unlock(&t->lock);
    if (t->console)
        return;
    t->console = h;
    hostfile_get(h);
}

void host_terminal_leave(struct hostfile *h)
{
    struct host_terminal *t = h->terminal;

    spin_lock(&t->lock);
    list_del(&h->terminal_link);
    spin_unlock(&t->lock);
    host_terminal_put(t);
}

void host_terminal_give(struct host_terminal *t, int32_t sid)
{
    if (!t->console)
        return;
    t->job.sid = t->job.pgid = sid;
    t->listed = true;
    tty_job_add(&t->job);
}

void host_terminal_console(struct host_terminal *t)
{
    if (!t->console)
        return;
    refcount_get(&t->ref);
    g_console = t;
}

int32_t host_terminal_foreground(struct host_terminal *t)
{
    return t && t->listed ? tty_job_foreground(&t->job) : 0;
}

/* One of its descriptors after @after in the list, with a reference. */
static struct hostfile *terminal_file(struct host_terminal *t, unsigned index)
{
    struct hostfile *h, *found = NULL;

    spin_lock(&t->lock);
    list_for_each_entry (h, &t->files, terminal_link)
        if (index-- == 0) {
            found = refcount_get_unless_zero(&h->ref) ? h : NULL;
            break;
        }
    spin_unlock(&t->lock);
    return found;
}

void host_terminal_hangup(struct host_terminal *t)
{
    struct hostfile *h;

    if (atomic_exchange(&t->hung, true) || !t->console)
        return;
    if (t->listed)
        tty_job_hangup(&t->job);
    for (unsigned i = 0; i < HOST_TERMINAL_FILES && (h = terminal_file(t, i)); i++) {
        hostfile_poll_cancel(h);
        wake_all(&h->wait, POLLIN | POLLOUT | POLLHUP | POLLERR);
        hostfile_put(h);
    }
    hostfile_put(t->console);
}

int hostfile_console_open(struct file *f)
{
    struct tty_job *j = tty_job_get_own(terminal_open);

    if (!j) {
        if (!g_console)
            return -ENXIO;
        j = &g_console->job;
        terminal_get(j);
    }
    return terminal_open(j, f);
}

/* --- ioctls --- */

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
    struct tty_job *j = hostfile_job(h);
    int r = reads || !j ? 0 : tty_job_check(j, t, SIGTTOU);

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

    if (hostfile_hung(h))
        return -EIO;
    switch (cmd) {
    case FIONREAD:
    case TIOCOUTQ:
        return tty_pass_out(h, t, cmd, arg, sizeof(int));
    case TIOCGPGRP:
    case TIOCGSID:
    case TIOCSPGRP:
    case TIOCSCTTY:
    case TIOCNOTTY:
        return hostfile_job(h) ? tty_job_ioctl(hostfile_job(h), t, cmd, arg, false) : -ENOTTY;
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
