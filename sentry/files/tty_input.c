/* SPDX-License-Identifier: Apache-2.0
 * tty_input.c - the line discipline: what typing does.
 *
 * Bytes go one at a time from feed to in: signals (ISIG), flow control (IXON), translation, line
 * editing (ICANON), echo. in is a ring of counted bytes; line_ends marks those that end a line. An
 * end of file is the byte END_OF_FILE with its mark: read, it ends the read and is not given.
 *
 * A full ring takes no more, except that while no line is whole its last byte is overwritten until
 * one ends: a line longer than the ring loses its tail, never its end. Called with the pair's lock. */
#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tty.h"

#define END_OF_FILE 0u /* and _POSIX_VDISABLE: as a setting, that no character does this */
#define IN_MASK (TTY_IN_SIZE - 1)

static bool ends_line(const struct tty *t, uint32_t at)
{
    return t->line_ends[(at & IN_MASK) / 64] >> (at % 64) & 1;
}

static void mark_line_end(struct tty *t, uint32_t at, bool on)
{
    uint64_t bit = 1ULL << (at % 64);
    uint64_t *word = &t->line_ends[(at & IN_MASK) / 64];

    *word = on ? *word | bit : *word & ~bit;
}

static uint8_t in_at(const struct tty *t, uint32_t at)
{
    return t->in[at & IN_MASK];
}

static void in_put(struct tty *t, uint8_t c)
{
    mark_line_end(t, t->in_head, false);
    t->in[t->in_head++ & IN_MASK] = c;
}

static void in_put_quoted(struct tty *t, uint8_t c)
{
    if ((t->set.iflag & PARMRK) && c == 0xff)
        in_put(t, c);
    in_put(t, c);
}

static bool is_cc(const struct tty *t, int which, uint8_t c)
{
    return t->set.cc[which] && t->set.cc[which] == c;
}

static bool flag(const struct tty *t, uint32_t lflag)
{
    return (t->set.lflag & lflag) == lflag;
}

/* --- editing --- */

static void finish_erasing(struct tty *t)
{
    if (!t->erasing)
        return;
    tty_echo_raw_locked(t, '/');
    t->erasing = false;
}

/* How far the text before a tab that goes reaches, to know how wide the tab was. */
static void erase_tab(struct tty *t)
{
    uint32_t columns = 0;
    bool after_tab = false;

    for (uint32_t at = t->in_head; at != t->canon && !after_tab;) {
        uint8_t c = in_at(t, --at);
        if (c == '\t')
            after_tab = true;
        else if (tty_is_control(c))
            columns += flag(t, ECHOCTL) ? 2 : 0;
        else if (!tty_is_continuation(t, c))
            columns++;
    }
    tty_echo_erase_tab_locked(t, columns, after_tab);
}

static void echo_back_one(struct tty *t)
{
    tty_echo_raw_locked(t, '\b');
    tty_echo_raw_locked(t, ' ');
    tty_echo_raw_locked(t, '\b');
}

/* The character of @bytes bytes that began with @c has left the line. */
static void echo_erased(struct tty *t, int what, uint8_t c, uint32_t bytes)
{
    if (flag(t, ECHOPRT)) {
        if (!t->erasing) {
            tty_echo_raw_locked(t, '\\');
            t->erasing = true;
        }
        tty_echo_locked(t, c);
        for (uint32_t i = 1; i < bytes; i++)
            tty_echo_raw_locked(t, in_at(t, t->in_head + i));
    } else if (what == VERASE && !flag(t, ECHOE)) {
        tty_echo_locked(t, t->set.cc[VERASE]);
    } else if (c == '\t') {
        erase_tab(t);
    } else {
        if (tty_is_control(c) && flag(t, ECHOCTL))
            echo_back_one(t);
        if (!tty_is_control(c) || flag(t, ECHOCTL))
            echo_back_one(t);
    }
}

/* KILL where the line cannot be wiped from the screen. true: done. */
static bool kill_simply(struct tty *t)
{
    if (flag(t, ECHO | ECHOK | ECHOKE | ECHOE))
        return false;
    t->in_head = t->canon;
    if (!flag(t, ECHO))
        return true;
    finish_erasing(t);
    tty_echo_locked(t, t->set.cc[VKILL]);
    if (flag(t, ECHOK))
        tty_echo_raw_locked(t, '\n');
    return true;
}

static void erase(struct tty *t, int what)
{
    bool word_seen = false;

    if (t->in_head == t->canon || (what == VKILL && kill_simply(t)))
        return;
    while (t->in_head != t->canon) {
        uint32_t at = t->in_head;
        uint8_t c;
        do
            c = in_at(t, --at);
        while (tty_is_continuation(t, c) && at != t->canon);
        if (tty_is_continuation(t, c))
            break; /* the rest of a character whose head was read away */
        if (what == VWERASE) {
            bool word = isalnum(c) || c == '_';
            if (!word && word_seen)
                break;
            word_seen |= word;
        }
        uint32_t bytes = t->in_head - at;
        t->in_head = at;
        if (flag(t, ECHO))
            echo_erased(t, what, c, bytes);
        if (what == VERASE)
            break;
    }
    if (t->in_head == t->canon && flag(t, ECHO))
        finish_erasing(t);
}

static void reprint(struct tty *t, uint8_t c)
{
    finish_erasing(t);
    tty_echo_locked(t, c);
    tty_echo_raw_locked(t, '\n');
    for (uint32_t at = t->canon; at != t->in_head; at++)
        tty_echo_locked(t, in_at(t, at));
}

static void line_end(struct tty *t, uint8_t c, struct tty_effects *e)
{
    t->in[t->in_head & IN_MASK] = c;
    mark_line_end(t, t->in_head++, true);
    t->canon = t->in_head;
    e->wake_slave |= POLLIN | POLLRDNORM;
}

/* A character that ends a line? Then it has been dealt with. */
static bool take_line_end(struct tty *t, uint8_t c, struct tty_effects *e)
{
    if (c == '\n') {
        if (flag(t, ECHO) || flag(t, ECHONL))
            tty_echo_raw_locked(t, '\n');
    } else if (is_cc(t, VEOF, c)) {
        c = END_OF_FILE;
    } else if (is_cc(t, VEOL, c) || (is_cc(t, VEOL2, c) && flag(t, IEXTEN))) {
        if (flag(t, ECHO)) {
            if (t->canon == t->in_head)
                t->canon_column = t->column;
            tty_echo_locked(t, c);
        }
        if ((t->set.iflag & PARMRK) && c == 0xff)
            in_put(t, c);
    } else {
        return false;
    }
    line_end(t, c, e);
    return true;
}

static bool edit(struct tty *t, uint8_t c, struct tty_effects *e)
{
    if (is_cc(t, VERASE, c)) {
        erase(t, VERASE);
    } else if (is_cc(t, VKILL, c)) {
        erase(t, VKILL);
    } else if (is_cc(t, VWERASE, c) && flag(t, IEXTEN)) {
        erase(t, VWERASE);
    } else if (is_cc(t, VLNEXT, c) && flag(t, IEXTEN)) {
        t->literal_next = true;
        if (flag(t, ECHO)) {
            finish_erasing(t);
            if (flag(t, ECHOCTL)) {
                tty_echo_raw_locked(t, '^');
                tty_echo_raw_locked(t, '\b');
            }
        }
    } else if (is_cc(t, VREPRINT, c) && flag(t, ECHO | IEXTEN)) {
        reprint(t, c);
    } else {
        return take_line_end(t, c, e);
    }
    return true;
}

/* --- one byte --- */

static void plain(struct tty *t, uint8_t c)
{
    if (flag(t, ECHO)) {
        finish_erasing(t);
        if (c == '\n') {
            tty_echo_raw_locked(t, '\n');
        } else {
            if (t->canon == t->in_head)
                t->canon_column = t->column;
            tty_echo_locked(t, c);
        }
    }
    in_put_quoted(t, c);
}

static int signal_of(const struct tty *t, uint8_t c)
{
    if (!flag(t, ISIG))
        return 0;
    return is_cc(t, VINTR, c)   ? SIGINT
           : is_cc(t, VQUIT, c) ? SIGQUIT
           : is_cc(t, VSUSP, c) ? SIGTSTP
                                : 0;
}

static void take_signal(struct tty *t, int signo, uint8_t c, struct tty_effects *e)
{
    e->signals |= SIGBIT(signo);
    if (!flag(t, NOFLSH)) {
        tty_flush_in_locked(t);
        tty_flush_out_locked(t);
    }
    if (t->set.iflag & IXON)
        tty_start_locked(t, e);
    if (flag(t, ECHO))
        tty_echo_locked(t, c);
}

static bool take_flow(struct tty *t, uint8_t c, struct tty_effects *e)
{
    if (!(t->set.iflag & IXON))
        return false;
    if (is_cc(t, VSTART, c))
        tty_start_locked(t, e);
    else if (is_cc(t, VSTOP, c))
        tty_stop_locked(t);
    else
        return false;
    return true;
}

static void take_byte(struct tty *t, uint8_t c, struct tty_effects *e)
{
    if (t->set.iflag & ISTRIP)
        c &= 0x7f;
    if ((t->set.iflag & IUCLC) && flag(t, IEXTEN))
        c = (uint8_t)tolower(c);
    if (t->literal_next) {
        t->literal_next = false;
        plain(t, c);
        return;
    }
    if (take_flow(t, c, e))
        return;
    int signo = signal_of(t, c);
    if (signo) {
        take_signal(t, signo, c, e);
        return;
    }
    if ((t->set.iflag & (IXON | IXANY)) == (IXON | IXANY))
        tty_start_locked(t, e);
    if (c == '\r') {
        if (t->set.iflag & IGNCR)
            return;
        if (t->set.iflag & ICRNL)
            c = '\n';
    } else if (c == '\n' && (t->set.iflag & INLCR)) {
        c = '\r';
    }
    if (!tty_cooked(t) || !edit(t, c, e))
        plain(t, c);
}

/* Room for one more byte, which may be stored twice? */
static bool make_room(struct tty *t)
{
    uint32_t held = t->in_head - t->in_tail;
    uint32_t need = t->set.iflag & PARMRK ? 3 : 1;

    if (held + need < TTY_IN_SIZE)
        return true;
    if (!tty_cooked(t) || t->canon != t->in_tail)
        return false;
    if (held + need > TTY_IN_SIZE)
        t->in_head--;
    return true;
}

void tty_input_locked(struct tty *t, struct tty_effects *e)
{
    uint32_t had_out = t->out_head, had_in = t->in_head;

    while (t->feed_tail != t->feed_head && make_room(t))
        take_byte(t, t->feed[t->feed_tail++ % TTY_FEED_SIZE], e);
    if (t->in_head != had_in) {
        t->in_at_ns = clock_now_ns(CLOCK_MONOTONIC);
        if (!tty_cooked(t))
            e->wake_slave |= POLLIN | POLLRDNORM;
    }
    if (t->out_head != had_out)
        e->wake_master |= POLLIN | POLLRDNORM;
    if (t->packet_status)
        e->wake_master |= POLLIN | POLLRDNORM | POLLPRI;
    if (t->feed_head - t->feed_tail < TTY_FEED_SIZE)
        e->wake_master |= POLLOUT | POLLWRNORM;
}

/* --- reading --- */

bool tty_readable_locked(const struct tty *t, uint32_t min)
{
    if (tty_cooked(t))
        return t->canon != t->in_tail;
    return t->in_head - t->in_tail >= min;
}

size_t tty_take_locked(struct tty *t, char *buf, size_t max, bool *ret_more)
{
    uint32_t end = tty_cooked(t) ? t->canon : t->in_head;
    size_t n = 0;

    *ret_more = true;
    while (t->in_tail != end && n < max) {
        uint32_t at = t->in_tail++;
        bool last = tty_cooked(t) && ends_line(t, at);
        if (last)
            *ret_more = false;
        if (last && in_at(t, at) == END_OF_FILE)
            break;
        buf[n++] = (char)in_at(t, at);
        if (last)
            break;
    }
    if (t->in_tail == end)
        *ret_more = false;
    if ((int32_t)(t->canon - t->in_tail) < 0)
        t->canon = t->in_tail;
    return n;
}

void tty_flush_in_locked(struct tty *t)
{
    t->in_tail = t->canon = t->in_head;
    t->erasing = t->literal_next = false;
    if (t->packet)
        t->packet_status |= TIOCPKT_FLUSHREAD;
}

void tty_mode_changed_locked(struct tty *t, uint32_t old_lflag)
{
    if (!((old_lflag ^ t->set.lflag) & ICANON))
        return;
    memset(t->line_ends, 0, sizeof(t->line_ends));
    t->erasing = t->literal_next = false;
    t->canon = t->in_tail;
    if (tty_cooked(t) && t->in_head != t->in_tail) {
        mark_line_end(t, t->in_head - 1, true);
        t->canon = t->in_head;
    }
}
