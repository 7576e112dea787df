/* SPDX-License-Identifier: Apache-2.0
 * tty.h - terminals: whose they are (tty_job.c), the line discipline (tty_input.c, tty_output.c),
 * settings (tty_ioctl.c), pairs of master and slave (pty.c). Source: termios(3), ioctl_tty(2),
 * pty(7), credentials(7).
 *
 * A byte's way: master write -> feed -> line discipline -> in -> slave read;
 *               slave write, echo -> output processing -> out -> master read.
 *
 * Everything in a pair is under its lock (RANK_OBJECT). What follows from a change but must not
 * happen under it (wakes, signals) is collected in struct tty_effects and done after unlocking. */
#ifndef FILES_TTY_H
#define FILES_TTY_H

#include <poll.h>
#include <termios.h>

#include <base/list.h>
#include <kernel/task.h>

#include "files_private.h"

/* --- tty_job.c: sessions and process groups of terminals; its own lock --- */

struct tty_job {
    struct list_head link; /* all terminals */
    int32_t sid, pgid;     /* whose controlling terminal, its foreground group; 0: nobody's */
    uint32_t rdev;         /* as in /proc/PID/stat */
    /* /dev/tty: get takes a reference (under a leaf lock), open uses it up, also on error. */
    void (*get)(struct tty_job *j);
    int (*open)(struct tty_job *j, struct file *f);
};

void tty_job_add(struct tty_job *j);
/* The terminal of the calling task's session, with the reference that j->open uses up, if it has one
 * and, with @open, that is of this kind. */
struct tty_job *tty_job_get_own(int (*open)(struct tty_job *j, struct file *f));
/* A session leader without a terminal opens or asks for @j. @steal: TIOCSCTTY with 1. 0, -EPERM. */
int tty_job_take(struct tty_job *j, struct task *t, bool steal);
/* May @t's group do what only the foreground may? 0; -ERESTARTSYS: it was sent @signo (SIGTTIN,
 * SIGTTOU); -EIO: it cannot be stopped. */
int tty_job_check(struct tty_job *j, struct task *t, int signo);
/* TIOCGPGRP, TIOCSPGRP, TIOCGSID, TIOCSCTTY, TIOCNOTTY. @master: asked by the side that owns the
 * pair, which may always look. -ENOTTY for other commands. */
sysret_t tty_job_ioctl(struct tty_job *j, struct task *t, uint32_t cmd, uint64_t arg, bool master);
/* Signal to the foreground group, if there is one. */
void tty_job_signal(struct tty_job *j, int signo);
int32_t tty_job_foreground(struct tty_job *j);
/* The terminal is gone: nobody finds it any more, the leader of its session hears SIGHUP and SIGCONT. */
void tty_job_hangup(struct tty_job *j);

/* --- the pair --- */

#define TTY_IN_SIZE 4096u /* line discipline: the longest line is one less */
#define TTY_FEED_SIZE 8192u
#define TTY_OUT_SIZE 16384u
#define TTY_CC_COUNT 19

struct tty_settings { /* the kernel's termios2; termios is its first 36 bytes */
    uint32_t iflag, oflag, cflag, lflag;
    uint8_t line, cc[TTY_CC_COUNT];
    uint32_t ispeed, ospeed;
};
#define TTY_TERMIOS_SIZE 36
_Static_assert(sizeof(struct tty_settings) == 44, "struct termios2 of the kernel");

struct tty_winsize {
    uint16_t rows, cols, xpixel, ypixel;
};

#define TTY_CHUNK 512u       /* bytes copied at a time */
#define TTY_EXPANSION_MAX 8u /* bytes that output processing makes of one: a tab as spaces */
#define TTY_POLL_IN (POLLIN | POLLRDNORM)
#define TTY_POLL_OUT (POLLOUT | POLLWRNORM)
#define TTY_POLL_HUNG (TTY_POLL_IN | TTY_POLL_OUT | POLLERR | POLLHUP)

struct tty_effects {
    uint32_t wake_slave, wake_master; /* POLL* bits */
    uint64_t signals;                 /* to the foreground group: SIGBIT */
};

struct tty {
    struct refcount ref;
    struct tty_job job;
    struct spin lock;
    int32_t index;
    /* bytes are copied from and to guests under these (RANK_FILE), one a direction and side */
    struct fmutex master_read, master_write, slave_read, slave_write;
    struct wait_queue master_wait, slave_wait;

    /* --- lock --- */
    struct tty_settings set;
    struct tty_winsize size;
    bool master_open, slave_closed; /* slave_closed: it was open once and nobody has it now */
    bool locked, exclusive;         /* TIOCSPTLCK, TIOCEXCL */
    bool stopped;                   /* output, by STOP or TCXONC */
    bool stopped_by_call;           /* TCOOFF: input does not start it again */
    bool packet;                    /* TIOCPKT */
    uint8_t packet_status;
    uint32_t slave_opens;

    uint32_t feed_head, feed_tail; /* counts of bytes; buffers are powers of two */
    /* in: [in_tail, canon) is whole lines, [canon, in_head) what is being edited */
    uint32_t in_head, in_tail, canon;
    bool literal_next, erasing;
    uint32_t column, canon_column; /* of the output; where the edited line began */
    uint32_t out_head, out_tail;
    uint32_t out_promised; /* room that a writer has been given and fills soon */
    int64_t in_at_ns;      /* when the last byte came, for VTIME */

    uint32_t uid, gid, mode; /* of the slave's node */
    struct timespec made;

    uint64_t line_ends[TTY_IN_SIZE / 64]; /* bytes of in that end a line */
    uint8_t in[TTY_IN_SIZE], feed[TTY_FEED_SIZE], out[TTY_OUT_SIZE];
};

struct tty *tty_get(struct tty *t);
void tty_put(struct tty *t);
void tty_effects_do(struct tty *t, struct tty_effects *e); /* lock not held; clears @e */

/* pty.c: no name leads to @t any more. */
void tty_unlist(struct tty *t);
/* pty_slave.c: @f becomes a slave, using up a reference to @t. -EIO, -EBUSY (TIOCEXCL). */
int tty_slave_attach(struct tty *t, struct file *f);
extern const struct file_ops tty_master_ops, tty_slave_ops;

static inline bool tty_cooked(const struct tty *t)
{
    return t->set.lflag & ICANON;
}

/* --- tty_input.c --- */

/* Move from feed to in what fits. */
void tty_input_locked(struct tty *t, struct tty_effects *e);
/* Can a read of the slave return now? @min: bytes wanted when not canonical. */
bool tty_readable_locked(const struct tty *t, uint32_t min);
/* What a read takes next: up to @max bytes from in into @buf. *ret_more: the read may go on. */
size_t tty_take_locked(struct tty *t, char *buf, size_t max, bool *ret_more);
void tty_flush_in_locked(struct tty *t); /* what is in, not what is in feed */
/* ICANON was changed: what is in becomes a line, or no lines. */
void tty_mode_changed_locked(struct tty *t, uint32_t old_lflag);

/* --- tty_output.c --- */

/* Bytes a slave's write may bring now, however they are processed. */
size_t tty_out_room_locked(const struct tty *t);
void tty_write_locked(struct tty *t, const char *buf, size_t n);
void tty_echo_locked(struct tty *t, uint8_t c);     /* as ^X when ECHOCTL says so */
void tty_echo_raw_locked(struct tty *t, uint8_t c); /* processed as output */
void tty_echo_erase_tab_locked(struct tty *t, uint32_t columns, bool after_tab);
void tty_flush_out_locked(struct tty *t);
void tty_stop_locked(struct tty *t);
void tty_start_locked(struct tty *t, struct tty_effects *e);
bool tty_is_continuation(const struct tty *t, uint8_t c); /* inside a UTF-8 character */
static inline bool tty_is_control(uint8_t c)
{
    return c < 0x20 || c == 0x7f;
}

/* --- tty_ioctl.c --- */

sysret_t tty_int_out(struct task *task, uint64_t arg, int32_t value);
void tty_settings_default(struct tty *t);
/* What master and slave have in common. -ENOTTY. */
sysret_t tty_ioctl(struct tty *t, struct task *task, uint32_t cmd, uint64_t arg, bool master);

#endif
