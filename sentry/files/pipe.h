/* SPDX-License-Identifier: Apache-2.0
 * pipe.h - the pipe, for pipe.c and fifo.c. */
#ifndef FILES_PIPE_H
#define FILES_PIPE_H

#include <fcntl.h>

#include <files/files.h>

struct pipe {
    struct refcount ref; /* each end, the inode of a fifo */
    struct fmutex read_lock, write_lock;
    struct spin lock; /* RANK_OBJECT; below it: */
    char *buf;        /* NULL until the first write; replaced under all three locks */
    uint32_t capacity;
    uint64_t head, tail;
    bool writing; /* a writer copies at head: the counters must not be reset */
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

extern const struct file_ops fifo_ops;

#endif
