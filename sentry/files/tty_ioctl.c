/* SPDX-License-Identifier: Apache-2.0
 * tty_ioctl.c - settings, window size and queues of a pair, from either side (ioctl_tty(2)).
 *
 * Structures are copied once, then set under the pair's lock. The settings are those of the slave;
 * a pseudo terminal has 8 data bits and no parity whatever is asked. Left out: TCGETA and its
 * family, TIOCSTI (-EIO, as where the host's administrator has switched it off), other line
 * disciplines. */
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tty.h"

#define IOCTL_TCGETS2 0x802c542au
#define IOCTL_TCSETS2 0x402c542bu
#define IOCTL_TCSETSW2 0x402c542cu
#define IOCTL_TCSETSF2 0x402c542du
#define STOP_DEFAULT 19
#define START_DEFAULT 17

void tty_settings_default(struct tty *t)
{
    static const uint8_t cc[TTY_CC_COUNT] = {
        [VINTR] = 3,    [VQUIT] = 28,  [VERASE] = 127,           [VKILL] = 21,    [VEOF] = 4,
        [VMIN] = 1,     [VSUSP] = 26,  [VSTART] = START_DEFAULT, [VREPRINT] = 18, [VDISCARD] = 15,
        [VWERASE] = 23, [VLNEXT] = 22, [VSTOP] = STOP_DEFAULT};

    t->set = (struct tty_settings){
        .iflag = ICRNL | IXON,
        .oflag = OPOST | ONLCR,
        .cflag = B38400 | CS8 | CREAD,
        .lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
        .ispeed = 38400,
        .ospeed = 38400,
    };
    memcpy(t->set.cc, cc, sizeof(cc));
}

static bool flow_is_usual(const struct tty_settings *s)
{
    return (s->iflag & IXON) && s->cc[VSTOP] == STOP_DEFAULT && s->cc[VSTART] == START_DEFAULT;
}

static void settings_apply_locked(struct tty *t, const struct tty_settings *s,
                                  struct tty_effects *e)
{
    struct tty_settings old = t->set;

    t->set = *s;
    t->set.cflag = (s->cflag & ~(uint32_t)(CSIZE | PARENB)) | CS8 | CREAD;
    tty_mode_changed_locked(t, old.lflag);
    if (t->packet && flow_is_usual(&old) != flow_is_usual(&t->set)) {
        t->packet_status &= (uint8_t) ~(TIOCPKT_DOSTOP | TIOCPKT_NOSTOP);
        t->packet_status |= flow_is_usual(&t->set) ? TIOCPKT_DOSTOP : TIOCPKT_NOSTOP;
    }
    if ((old.iflag & IXON) && !(t->set.iflag & IXON))
        tty_start_locked(t, e);
    tty_input_locked(t, e); /* there may be room under the new rules */
    e->wake_slave |= POLLIN | POLLRDNORM | POLLOUT | POLLWRNORM;
}

/* Speed of a Bxxx code; BOTHER keeps @given. */
static uint32_t speed_of(uint32_t cflag, uint32_t given)
{
    static const uint32_t low[16] = {0,   50,   75,   110,  134,  150,  200,   300,
                                     600, 1200, 1800, 2400, 4800, 9600, 19200, 38400};
    static const uint32_t high[16] = {0,       57600,   115200,  230400,  460800,  500000,
                                      576000,  921600,  1000000, 1152000, 1500000, 2000000,
                                      2500000, 3000000, 3500000, 4000000};
    uint32_t code = cflag & 0xf;

    if (!(cflag & CBAUDEX))
        return low[code];
    return code ? high[code] : given;
}

static sysret_t settings_set(struct tty *t, struct task *task, uint32_t cmd, uint64_t arg)
{
    bool two = cmd == IOCTL_TCSETS2 || cmd == IOCTL_TCSETSW2 || cmd == IOCTL_TCSETSF2;
    struct tty_effects e = {0};
    struct tty_settings s;

    int r = tty_job_check(&t->job, task, SIGTTOU);
    if (r)
        return r;
    spin_lock(&t->lock);
    s = t->set;
    spin_unlock(&t->lock);
    if (copy_in(task->mm, &s, UADDR(arg), two ? sizeof(s) : TTY_TERMIOS_SIZE))
        return -EFAULT;
    s.ospeed = speed_of(s.cflag, s.ospeed);
    s.ispeed = (s.cflag >> 16) & 0xf ? speed_of(s.cflag >> 16, s.ispeed) : s.ospeed;
    fmutex_lock(&t->slave_write); /* its room was counted under the old settings */
    spin_lock(&t->lock);
    if (cmd == TCSETSF || cmd == IOCTL_TCSETSF2) {
        tty_flush_in_locked(t);
        t->feed_tail = t->feed_head;
    }
    settings_apply_locked(t, &s, &e);
    spin_unlock(&t->lock);
    fmutex_unlock(&t->slave_write);
    tty_effects_do(t, &e);
    return 0;
}

static sysret_t settings_get(struct tty *t, struct task *task, uint64_t arg, size_t size)
{
    spin_lock(&t->lock);
    struct tty_settings s = t->set;
    spin_unlock(&t->lock);
    return copy_out(task->mm, UADDR(arg), &s, size);
}

static sysret_t window_set(struct tty *t, struct task *task, uint64_t arg)
{
    struct tty_winsize w;

    if (copy_in_obj(task->mm, &w, UADDR(arg)))
        return -EFAULT;
    spin_lock(&t->lock);
    bool changed = memcmp(&w, &t->size, sizeof(w)) != 0;
    t->size = w;
    spin_unlock(&t->lock);
    if (changed)
        tty_job_signal(&t->job, SIGWINCH);
    return 0;
}

static sysret_t window_get(struct tty *t, struct task *task, uint64_t arg)
{
    spin_lock(&t->lock);
    struct tty_winsize w = t->size;
    spin_unlock(&t->lock);
    return copy_out_obj(task->mm, UADDR(arg), &w);
}

/* The slave's input is the master's output. */
static sysret_t queues_flush(struct tty *t, struct task *task, uint64_t arg, bool master)
{
    struct tty_effects e = {.wake_slave = POLLOUT | POLLWRNORM,
                            .wake_master = POLLOUT | POLLWRNORM};
    int r = master ? 0 : tty_job_check(&t->job, task, SIGTTOU);

    if (r)
        return r;
    if (arg > TCIOFLUSH)
        return -EINVAL;
    bool in = arg != (master ? TCIFLUSH : TCOFLUSH), out = arg != (master ? TCOFLUSH : TCIFLUSH);
    spin_lock(&t->lock);
    if (in) {
        tty_flush_in_locked(t);
        t->feed_tail = t->feed_head;
    }
    if (out)
        tty_flush_out_locked(t);
    if (t->packet_status)
        e.wake_master |= POLLIN | POLLRDNORM | POLLPRI;
    spin_unlock(&t->lock);
    tty_effects_do(t, &e);
    return 0;
}

static sysret_t flow_set(struct tty *t, struct task *task, uint64_t arg)
{
    struct tty_effects e = {0};
    int r = tty_job_check(&t->job, task, SIGTTOU);

    if (r)
        return r;
    spin_lock(&t->lock);
    if (arg == TCOOFF) {
        tty_stop_locked(t);
        t->stopped_by_call = true;
    } else if (arg == TCOON) {
        t->stopped_by_call = false;
        tty_start_locked(t, &e);
    } else if (arg == TCIOFF || arg == TCION) {
        uint8_t c = t->set.cc[arg == TCIOFF ? VSTOP : VSTART];
        if (c && tty_out_room_locked(t))
            tty_write_locked(t, (const char *)&c, 1);
        e.wake_master |= POLLIN | POLLRDNORM;
    } else {
        r = -EINVAL;
    }
    if (t->packet_status)
        e.wake_master |= POLLIN | POLLRDNORM | POLLPRI;
    spin_unlock(&t->lock);
    tty_effects_do(t, &e);
    return r;
}

/* TIOCINQ: what a read would find; TIOCOUTQ: always 0, a pair hands output over at once. */
static sysret_t queue_length(struct tty *t, struct task *task, uint64_t arg, bool master, bool out)
{
    int32_t n = 0;

    spin_lock(&t->lock);
    if (!out && master)
        n = (int32_t)(t->out_head - t->out_tail);
    else if (!out)
        n = (int32_t)((tty_cooked(t) ? t->canon : t->in_head) - t->in_tail);
    spin_unlock(&t->lock);
    return copy_out_obj(task->mm, UADDR(arg), &n);
}

static sysret_t exclusive_set(struct tty *t, bool on)
{
    spin_lock(&t->lock);
    t->exclusive = on;
    spin_unlock(&t->lock);
    return 0;
}

sysret_t tty_int_out(struct task *task, uint64_t arg, int32_t value)
{
    return copy_out_obj(task->mm, UADDR(arg), &value);
}

static sysret_t settings_ioctl(struct tty *t, struct task *task, uint32_t cmd, uint64_t arg)
{
    switch (cmd) {
    case TCGETS:
        return settings_get(t, task, arg, TTY_TERMIOS_SIZE);
    case IOCTL_TCGETS2:
        return settings_get(t, task, arg, sizeof(struct tty_settings));
    case TCSETS:
    case TCSETSW:
    case TCSETSF:
    case IOCTL_TCSETS2:
    case IOCTL_TCSETSW2:
    case IOCTL_TCSETSF2:
        return settings_set(t, task, cmd, arg);
    case TIOCGWINSZ:
        return window_get(t, task, arg);
    case TIOCSWINSZ:
        return window_set(t, task, arg);
    default:
        return -ENOTTY;
    }
}

sysret_t tty_ioctl(struct tty *t, struct task *task, uint32_t cmd, uint64_t arg, bool master)
{
    switch (cmd) {
    case FIONREAD:
    case TIOCOUTQ:
        return queue_length(t, task, arg, master, cmd == TIOCOUTQ);
    case TCFLSH:
        return queues_flush(t, task, arg, master);
    case TCXONC:
        return flow_set(t, task, arg);
    case TCSBRK:
    case TCSBRKP: /* nothing to drain, and a break means nothing here */
        return tty_job_check(&t->job, task, SIGTTOU);
    case TIOCEXCL:
    case TIOCNXCL:
        return exclusive_set(t, cmd == TIOCEXCL);
    case TIOCGEXCL:
        return tty_int_out(task, arg, t->exclusive);
    case TIOCGETD:
        return tty_int_out(task, arg, 0);
    case TIOCSTI:
        return -EIO;
    case TIOCGPGRP:
    case TIOCSPGRP:
    case TIOCGSID:
    case TIOCSCTTY:
    case TIOCNOTTY:
        return tty_job_ioctl(&t->job, task, cmd, arg, master);
    default:
        return settings_ioctl(t, task, cmd, arg);
    }
}
