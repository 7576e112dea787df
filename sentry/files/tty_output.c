/* SPDX-License-Identifier: Apache-2.0
 * tty_output.c - output processing (OPOST), echo, and stopping and starting output.
 *
 * Called with the pair's lock. Room is asked for before a write (tty_out_room_locked), so a write
 * always fits; an echo that does not fit is dropped. Bytes are the guest's: no value is special but
 * by the settings. */
#include <ctype.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tty.h"

bool tty_is_continuation(const struct tty *t, uint8_t c)
{
    return (t->set.iflag & IUTF8) && (c & 0xc0) == 0x80;
}

static uint32_t out_free(const struct tty *t)
{
    return TTY_OUT_SIZE - (t->out_head - t->out_tail);
}

size_t tty_out_room_locked(const struct tty *t)
{
    if (t->stopped)
        return 0;
    uint32_t room = out_free(t) - t->out_promised;
    return t->set.oflag & OPOST ? room / TTY_EXPANSION_MAX : room;
}

static void out_put(struct tty *t, uint8_t c)
{
    if (out_free(t))
        t->out[t->out_head++ % TTY_OUT_SIZE] = c;
}

static void out_newline(struct tty *t)
{
    if (t->set.oflag & ONLRET)
        t->column = 0;
    if (t->set.oflag & ONLCR) {
        t->column = 0;
        out_put(t, '\r');
    }
    t->canon_column = t->column;
    out_put(t, '\n');
}

static void out_return(struct tty *t)
{
    if ((t->set.oflag & ONOCR) && !t->column)
        return;
    if (t->set.oflag & OCRNL) {
        if (t->set.oflag & ONLRET)
            t->canon_column = t->column = 0;
        out_put(t, '\n');
        return;
    }
    t->canon_column = t->column = 0;
    out_put(t, '\r');
}

static void out_tab(struct tty *t)
{
    uint32_t spaces = 8 - (t->column & 7);

    t->column += spaces;
    if ((t->set.oflag & TABDLY) != XTABS) {
        out_put(t, '\t');
        return;
    }
    while (spaces--)
        out_put(t, ' ');
}

static void out_processed(struct tty *t, uint8_t c)
{
    if (!(t->set.oflag & OPOST)) {
        out_put(t, c);
        return;
    }
    switch (c) {
    case '\n':
        out_newline(t);
        return;
    case '\r':
        out_return(t);
        return;
    case '\t':
        out_tab(t);
        return;
    case '\b':
        if (t->column)
            t->column--;
        break;
    default:
        if (tty_is_control(c))
            break;
        if (t->set.oflag & OLCUC)
            c = (uint8_t)toupper(c);
        if (!tty_is_continuation(t, c))
            t->column++;
        break;
    }
    out_put(t, c);
}

void tty_write_locked(struct tty *t, const char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out_processed(t, (uint8_t)buf[i]);
}

void tty_echo_raw_locked(struct tty *t, uint8_t c)
{
    if (out_free(t) >= t->out_promised + TTY_EXPANSION_MAX)
        out_processed(t, c);
}

void tty_echo_locked(struct tty *t, uint8_t c)
{
    if ((t->set.lflag & ECHOCTL) && tty_is_control(c) && c != '\t') {
        if (out_free(t) < t->out_promised + 2)
            return;
        out_put(t, '^');
        out_put(t, c ^ 0100);
        t->column += 2;
        return;
    }
    tty_echo_raw_locked(t, c);
}

void tty_echo_erase_tab_locked(struct tty *t, uint32_t columns, bool after_tab)
{
    if (!after_tab)
        columns += t->canon_column;
    for (uint32_t n = 8 - (columns & 7); n; n--) {
        if (out_free(t) <= t->out_promised)
            return;
        out_put(t, '\b');
        if (t->column)
            t->column--;
    }
}

/* What is next to be read stays, as it does natively, where it is on the master's side already. */
void tty_flush_out_locked(struct tty *t)
{
    if (t->out_head - t->out_tail > TTY_IN_SIZE)
        t->out_head = t->out_tail + TTY_IN_SIZE;
    if (t->packet)
        t->packet_status |= TIOCPKT_FLUSHWRITE;
}

void tty_stop_locked(struct tty *t)
{
    if (t->stopped)
        return;
    t->stopped = true;
    if (t->packet)
        t->packet_status = (uint8_t)((t->packet_status & ~TIOCPKT_START) | TIOCPKT_STOP);
}

void tty_start_locked(struct tty *t, struct tty_effects *e)
{
    if (!t->stopped || t->stopped_by_call)
        return;
    t->stopped = false;
    if (t->packet)
        t->packet_status = (uint8_t)((t->packet_status & ~TIOCPKT_STOP) | TIOCPKT_START);
    e->wake_slave |= POLLOUT | POLLWRNORM;
}
