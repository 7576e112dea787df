/* SPDX-License-Identifier: Apache-2.0
 * splice.c - bytes from and to pipes without the guest's memory: splice(2), tee(2).
 *
 * The other file reads into the pipe's ring and writes out of it itself: one copy. A pipe's bytes are
 * used up only by what the other file has taken.
 *
 * Locks: the reader's side of one pipe, then the writer's side of another, then what the other file
 * needs; never a writer's side before a reader's. */
#include <limits.h>
#include <poll.h>
#include <signal.h>

#include <kernel/task.h>

#include "files_private.h"
#include "pipe.h"

static struct pipe_end *file_pipe_end(const struct file *f)
{
    return file_is_pipe(f) ? f->private_data : NULL;
}

bool pipe_same(const struct file *a, const struct file *b)
{
    return file_is_pipe(a) && file_is_pipe(b) && file_pipe_end(a)->pipe == file_pipe_end(b)->pipe;
}

/* At the file's own position (@pos NULL), or at *pos, which moves. */
static ssize_t other_io(struct task *t, struct file *f, void *buf, size_t n, int64_t *pos,
                        bool write)
{
    struct uio u;

    uio_init_kernel(&u, buf, n);
    ssize_t r = write ? vfs_write_nowait(t, f, &u, pos ? *pos : -1)
                      : vfs_read_nowait(f, &u, pos ? *pos : -1);
    uio_fini(&u);
    if (r > 0 && pos)
        *pos += r;
    return r;
}

/* Bytes have come (POLL_IN) or gone. */
static void splice_tell(struct pipe *p, int code)
{
    wake_one(&p->wait, code == POLL_IN ? POLLIN | POLLRDNORM : POLLOUT | POLLWRNORM);
    async_notify(&p->wait, code);
}

ssize_t splice_to_pipe(struct file *in, int64_t *pos, struct file *out, size_t len)
{
    struct pipe *p = file_pipe_end(out)->pipe;
    ssize_t done = 0, r = 0;
    size_t at;

    fmutex_lock(&p->write_lock);
    r = pipe_buf_make(p);
    while (!r && (size_t)done < len) {
        size_t n = pipe_write_begin(p, 0, len - (size_t)done, false, &at, &r);
        if (!n)
            break;
        r = other_io(NULL, in, p->buf + at, n, pos, false);
        (void)pipe_write_end(p, r > 0 ? (uint64_t)r : 0);
        if (r <= 0)
            break;
        done += r;
        if ((size_t)r < n)
            break;
        r = 0;
    }
    fmutex_unlock(&p->write_lock);
    if (done)
        splice_tell(p, POLL_IN);
    return done ? done : r;
}

ssize_t splice_from_pipe(struct task *t, struct file *in, struct file *out, int64_t *pos,
                         size_t len)
{
    struct pipe *p = file_pipe_end(in)->pipe;
    ssize_t done = 0, r = 0;
    uint32_t room = 0;
    const char *at;

    fmutex_lock(&p->read_lock);
    while ((size_t)done < len) {
        size_t n = pipe_read_begin(p, len - (size_t)done, &at, &r);
        if (!n)
            break;
        r = other_io(t, out, (char *)(uintptr_t)at, n, pos, true);
        if (r <= 0)
            break;
        room = pipe_read_end(p, (size_t)r);
        done += r;
        if ((size_t)r < n)
            break;
    }
    fmutex_unlock(&p->read_lock);
    if (done && room >= PIPE_BUF)
        splice_tell(p, POLL_OUT);
    return done ? done : r;
}

/* Bytes of @a from @skip on into @b, whose buffer is there; both sides locked. */
static ssize_t pipes_copy(struct pipe *a, struct pipe *b, size_t skip, size_t want)
{
    ssize_t r = 0;
    size_t to;

    spin_lock(&a->lock);
    uint64_t tail = a->tail + skip, held = a->head - a->tail;
    bool writers = a->writers;
    bool packets = a->packet_count;
    spin_unlock(&a->lock);
    if (packets)
        return -EINVAL;
    if (held <= skip)
        return held || writers ? -EAGAIN : 0;
    size_t from = tail & (a->capacity - 1);
    want = MIN(MIN(held - skip, a->capacity - from), want);
    size_t n = pipe_write_begin(b, 0, want, false, &to, &r);
    if (!n)
        return r;
    memcpy(b->buf + to, a->buf + from, n);
    (void)pipe_write_end(b, n);
    return (ssize_t)n;
}

ssize_t splice_pipes(struct task *t, struct file *in, struct file *out, size_t len, bool keep)
{
    struct pipe *a = file_pipe_end(in)->pipe, *b = file_pipe_end(out)->pipe;
    ssize_t done = 0, r = 0;
    uint32_t room = 0;

    fmutex_lock(&a->read_lock);
    fmutex_lock(&b->write_lock);
    r = pipe_buf_make(b);
    while (!r && (size_t)done < len) {
        ssize_t n = pipes_copy(a, b, keep ? (size_t)done : 0, len - (size_t)done);
        if (n <= 0) {
            r = n;
            break;
        }
        if (!keep)
            room = pipe_read_end(a, (size_t)n);
        done += n;
    }
    fmutex_unlock(&b->write_lock);
    fmutex_unlock(&a->read_lock);
    if (done)
        splice_tell(b, POLL_IN);
    if (room >= PIPE_BUF)
        splice_tell(a, POLL_OUT);
    if (!done && r == -EPIPE)
        (void)signal_send_task(t, SIGPIPE, NULL);
    return done ? done : r;
}
