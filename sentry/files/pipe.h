/* SPDX-License-Identifier: Apache-2.0
 * pipe.h - the pipe, for pipe.c and fifo.c. */
#ifndef FILES_PIPE_H
#define FILES_PIPE_H

#include <fcntl.h>

#include <files/files.h>

#define PIPE_PACKETS_MAX (PIPE_SIZE_MAX / 4096u) /* PIPE_BUF */

struct pipe_packet {
    uint64_t start, from; /* what comes before it ends at start; its bytes begin at from */
    uint32_t len;
};

struct pipe {
    struct refcount ref; /* each end, the inode of a fifo */
    struct fmutex read_lock, write_lock;
    struct spin lock; /* RANK_OBJECT; below it: */
    char *buf;        /* NULL until the first write; replaced under all three locks */
    uint32_t capacity;
    uint64_t head, tail;
    bool writing;                /* a writer copies at head: the counters must not be reset */
    struct pipe_packet *packets; /* NULL until the first one; a ring */
    uint32_t packet_first, packet_count;
    uint32_t packet_rest; /* read_lock: pipe_read_begin() is in a packet with so much left; 0 not */
    uint32_t readers, writers;
    uint32_t reader_opens, writer_opens; /* ever: who waits in open() looks for a change */
    struct wait_queue wait;
};

struct pipe_end {
    struct pipe *pipe;
    uint32_t mode; /* O_RDONLY, O_WRONLY, O_RDWR */
    /* writer_opens and reader_opens at open: no POLLHUP before the first writer, and an open() that
     * waits sees that its partner has been there */
    uint32_t writers_before, readers_before;
    bool fifo;
};

static inline bool end_reads(const struct pipe_end *e)
{
    return e->mode != O_WRONLY;
}

static inline bool end_writes(const struct pipe_end *e)
{
    return e->mode != O_RDONLY;
}

struct pipe *pipe_alloc(void); /* one reference; NULL no memory */
void pipe_put(struct pipe *p);
/* A new end, counted; takes a reference of its own to the pipe. NULL no memory. */
struct pipe_end *pipe_end_new(struct pipe *p, uint32_t mode, bool fifo);
void pipe_end_free(struct pipe_end *e);

/* One stretch of a read: bytes at *ret_at, 0 with *ret_why (0 end, -EAGAIN). read_lock held until
 * pipe_read_end(), which returns the room there is now. */
size_t pipe_read_begin(struct pipe *p, size_t want, const char **ret_at, ssize_t *ret_why);
uint32_t pipe_read_end(struct pipe *p, size_t taken);
/* One stretch of a write: bytes that may be put at offset *ret_at of buf, behind @pending ones put
 * before; 0 with *ret_err. @whole: all of @want or none. write_lock held until pipe_write_end(),
 * which shows them and returns the room that is left. */
size_t pipe_write_begin(struct pipe *p, uint64_t pending, size_t want, bool whole, size_t *ret_at,
                        ssize_t *ret_err);
uint32_t pipe_write_end(struct pipe *p, uint64_t written);
/* --- pipe_packet.c; the first two: when there are packets --- */

/* How many bytes may be read in one piece; notes packet_rest. */
uint64_t pipe_packet_stretch_locked(struct pipe *p);
void pipe_packet_taken_locked(struct pipe *p);             /* tail has moved */
uint64_t pipe_packet_padding_locked(const struct pipe *p); /* of what is held, no bytes */
void pipe_packet_move_locked(struct pipe *p);              /* tail is about to become 0 */
/* write_lock held, buf made. *ret_room: as pipe_write_end() says, when something was written. */
ssize_t pipe_packet_write(struct pipe *p, struct uio *u, uint32_t *ret_room);

int pipe_buf_make(struct pipe *p); /* write_lock held; -ENOMEM */

extern const struct file_ops fifo_ops;

#endif
