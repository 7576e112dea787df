/* SPDX-License-Identifier: Apache-2.0
 * pipe_packet.c - pipes as rows of packets (O_DIRECT on the writing end).
 *
 * As on Linux a packet takes a page of the pipe, however small it is, and a read takes no more than
 * one: what did not fit into its buffer is lost. Packets stand in a list beside the ring; each begins
 * at a multiple of PIPE_BUF, so none wraps, and what lies between it and the bytes before it is
 * skipped. Ends that are not O_DIRECT may write bytes in between; and as on Linux what is written
 * while the page of such bytes has room joins them.
 *
 * Locks: write_lock for writing; pipe->lock for the list. */
#include <limits.h>
#include <stdlib.h>

#include "pipe.h"

static struct pipe_packet *packet_first_locked(struct pipe *p)
{
    return &p->packets[p->packet_first];
}

uint64_t pipe_packet_stretch_locked(struct pipe *p)
{
    const struct pipe_packet *k = packet_first_locked(p);

    if (p->tail < k->start)
        return k->start - p->tail;
    if (p->tail < k->from)
        p->tail = k->from;
    p->packet_rest = (uint32_t)(k->from + k->len - p->tail);
    return p->packet_rest;
}

void pipe_packet_taken_locked(struct pipe *p)
{
    const struct pipe_packet *k = packet_first_locked(p);

    if (p->tail < k->from + k->len)
        return;
    p->tail = k->from + PIPE_BUF;
    p->packet_first = (p->packet_first + 1) % PIPE_PACKETS_MAX;
    p->packet_count--;
}

uint64_t pipe_packet_padding_locked(const struct pipe *p)
{
    uint64_t padding = 0;

    for (uint32_t i = 0; i < p->packet_count; i++) {
        const struct pipe_packet *k = &p->packets[(p->packet_first + i) % PIPE_PACKETS_MAX];
        uint64_t gap = MAX(k->start, p->tail);
        padding += PIPE_BUF - k->len + (k->from > gap ? k->from - gap : 0);
    }
    return padding;
}

/* Everything held moves to the ring's beginning. */
void pipe_packet_move_locked(struct pipe *p)
{
    for (uint32_t i = 0; i < p->packet_count; i++) {
        struct pipe_packet *k = &p->packets[(p->packet_first + i) % PIPE_PACKETS_MAX];
        k->start = MAX(k->start, p->tail) - p->tail;
        k->from -= p->tail;
    }
}

/* Do @n bytes join the ones before them? */
static bool packet_joins_locked(const struct pipe *p, size_t n)
{
    uint64_t bytes_from = p->tail;

    if (p->packet_count) {
        uint32_t last = (p->packet_first + p->packet_count - 1) % PIPE_PACKETS_MAX;
        bytes_from = p->packets[last].from + PIPE_BUF;
    }
    return p->head > bytes_from && p->head % PIPE_BUF && p->head % PIPE_BUF + n <= PIPE_BUF;
}

/* -EPIPE, -EAGAIN; 0 leaves writing set. ret->from == ret->start with *ret_joins: it is none. */
static int packet_begin(struct pipe *p, struct pipe_packet *ret, size_t n, bool *ret_joins)
{
    int r = 0;

    spin_lock(&p->lock);
    ret->start = p->head;
    *ret_joins = packet_joins_locked(p, n);
    ret->from = *ret_joins ? p->head : align_up(p->head, PIPE_BUF);
    if (!p->readers)
        r = -EPIPE;
    else if (ret->from + (*ret_joins ? n : PIPE_BUF) - p->tail > p->capacity ||
             p->packet_count == PIPE_PACKETS_MAX)
        r = -EAGAIN;
    else
        p->writing = true;
    spin_unlock(&p->lock);
    return r;
}

static uint32_t packet_end(struct pipe *p, const struct pipe_packet *k, bool joins)
{
    spin_lock(&p->lock);
    p->writing = false;
    if (joins) {
        p->head += k->len;
    } else if (k->len) {
        p->packets[(p->packet_first + p->packet_count++) % PIPE_PACKETS_MAX] = *k;
        p->head = k->from + PIPE_BUF;
    }
    uint32_t room = p->capacity - (uint32_t)(p->head - p->tail);
    spin_unlock(&p->lock);
    return room;
}

ssize_t pipe_packet_write(struct pipe *p, struct uio *u, uint32_t *ret_room)
{
    ssize_t done = 0, r = 0;

    if (!p->packets) {
        struct pipe_packet *fresh = calloc(PIPE_PACKETS_MAX, sizeof(*fresh));
        if (!fresh)
            return -ENOMEM;
        spin_lock(&p->lock);
        p->packets = fresh;
        spin_unlock(&p->lock);
    }
    while (u->left) {
        size_t n = MIN(u->left, (size_t)PIPE_BUF);
        struct pipe_packet k;
        bool joins;
        r = packet_begin(p, &k, n, &joins);
        if (r)
            break;
        r = uio_copy_from_user(u, p->buf + (k.from & (p->capacity - 1)), n);
        if (r >= 0 && (size_t)r < n)
            r = -EFAULT; /* whole or not at all */
        k.len = r > 0 ? (uint32_t)r : 0;
        *ret_room = packet_end(p, &k, joins);
        if (r < 0)
            break;
        done += r;
    }
    return done ? done : r;
}
