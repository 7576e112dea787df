/* SPDX-License-Identifier: Apache-2.0
 * io_direct.c - which reads and writes of files are made by the poller itself, though they may wait.
 *
 * Some file systems cannot be asked to read or write without waiting (-EOPNOTSUPP): ext4 for buffered
 * writes, tmpfs for both. What they do is to copy into the page cache, microseconds that are shorter than
 * handing the call to another thread and back. They do wait now and then: for the host's limit of dirty
 * pages, for a journal. So after a call that slept for DIRECT_SLOW_NS or more this ends for DIRECT_PAUSE
 * times as long: a poller loses a tenth of its time to such waits at most, and one wait at a time. A call
 * that only had to leave its CPU to others does not count.
 *
 * Only local file systems of which that is known, descriptors without O_SYNC and O_DIRECT, and as
 * much as is copied in a short time.
 *
 * Locks: none; each engine has its own pause, of its owner thread.
 * Host: fstatfs, fcntl, clock_gettime, getrusage [sentry gofer]
 */
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>

#include "io_private.h"

#define DIRECT_SLOW_NS 2000000
#define DIRECT_PAUSE 10
#define DIRECT_NEVER (O_SYNC | O_DSYNC | O_DIRECT)

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long sleeps(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) == 0 ? u.ru_nvcsw : -1;
}

static bool local(int fd)
{
    struct statfs s;
    return fstatfs(fd, &s) == 0 && (s.f_type == TMPFS_MAGIC || s.f_type == EXT4_SUPER_MAGIC);
}

static bool allowed(const struct io *io, const struct io_op *op, int64_t now)
{
    size_t bytes = 0;
    if (now < io->direct_after_ns)
        return false;
    for (int i = 0; i < op->rw.n && bytes <= IO_DIRECT_BYTES_MAX; i++)
        bytes += op->rw.iov[i].iov_len;
    if (bytes > IO_DIRECT_BYTES_MAX || !local(op->fd))
        return false;
    int flags = fcntl(op->fd, F_GETFL);
    return flags >= 0 && (flags & DIRECT_NEVER) == 0;
}

bool io_op_direct(struct io *io, const struct io_op *op, ssize_t *ret)
{
    int64_t start = now_ns();
    if ((op->kind != IO_READV && op->kind != IO_WRITEV) || !allowed(io, op, start))
        return false;
    long slept = sleeps();
    *ret = io_op_call(op);
    int64_t end = now_ns();
    if (end - start >= DIRECT_SLOW_NS && sleeps() != slept)
        io->direct_after_ns = end + DIRECT_PAUSE * (end - start);
    return true;
}
