/* SPDX-License-Identifier: Apache-2.0
 * dev.c - /dev: null, zero, full, random, urandom, tty, console, ptmx, links to descriptors, places to mount on.
 *
 * Devices are always ready. Random bytes are the host's. tty, console and
 * ptmx are what devfs_tty_open, devfs_console_open and devpts_hooks give. No state, no locks.
 *
 * Left out: mappings of /dev/zero (-ENODEV).
 * Host: getrandom [sentry-run] */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/sysmacros.h>

#include "pseudo.h"

#define TMPFS_MAGIC_NR 0x01021994 /* devtmpfs reports tmpfs' */

int (*devfs_tty_open)(struct file *f);
int (*devfs_console_open)(struct file *f);

static ssize_t null_read(struct file *f UNUSED, struct uio *u UNUSED, int64_t *pos UNUSED,
                         unsigned flags UNUSED)
{
    return 0;
}

static ssize_t null_write(struct file *f UNUSED, struct uio *u, int64_t *pos UNUSED,
                          unsigned flags UNUSED)
{
    size_t n = u->left;

    uio_advance(u, n);
    return (ssize_t)n;
}

static ssize_t zero_read(struct file *f UNUSED, struct uio *u, int64_t *pos UNUSED,
                         unsigned flags UNUSED)
{
    return u->left ? uio_zero_user(u, u->left) : 0;
}

static ssize_t full_write(struct file *f UNUSED, struct uio *u, int64_t *pos UNUSED,
                          unsigned flags UNUSED)
{
    return u->left ? -ENOSPC : 0;
}

#define RANDOM_PIECE 256u /* getrandom never gives less than this when asked for it */

static ssize_t random_read(struct file *f UNUSED, struct uio *u, int64_t *pos UNUSED,
                           unsigned flags UNUSED)
{
    unsigned char buf[RANDOM_PIECE];
    ssize_t done = 0;

    while (u->left) {
        size_t n = MIN(u->left, sizeof(buf));
        if (getrandom(buf, n, 0) != (ssize_t)n)
            return done ? done : -EAGAIN;
        ssize_t r = uio_copy_to_user(u, buf, n);
        if (r < 0)
            return done ? done : r;
        done += r;
        if ((size_t)r < n)
            break;
    }
    explicit_bzero(buf, sizeof(buf));
    return done;
}

/* Linux lets one seek on these, to no effect. */
static int64_t null_seek(struct file *f UNUSED, int64_t off UNUSED, int whence UNUSED)
{
    return 0;
}

static const struct file_ops null_ops = {
    .name = "null", .read = null_read, .write = null_write, .seek = null_seek};
static const struct file_ops zero_ops = {
    .name = "zero", .read = zero_read, .write = null_write, .seek = null_seek};
static const struct file_ops full_ops = {
    .name = "full", .read = zero_read, .write = full_write, .seek = null_seek};
static const struct file_ops random_ops = {
    .name = "random", .read = random_read, .write = null_write, .seek = null_seek};

static int open_null(struct inode *i UNUSED, struct file *f)
{
    f->ops = &null_ops;
    return 0;
}

static int open_zero(struct inode *i UNUSED, struct file *f)
{
    f->ops = &zero_ops;
    return 0;
}

static int open_full(struct inode *i UNUSED, struct file *f)
{
    f->ops = &full_ops;
    return 0;
}

static int open_random(struct inode *i UNUSED, struct file *f)
{
    f->ops = &random_ops;
    return 0;
}

static int open_tty(struct inode *i UNUSED, struct file *f)
{
    return devfs_tty_open ? devfs_tty_open(f) : -ENXIO;
}

static int open_console(struct inode *i UNUSED, struct file *f)
{
    return devfs_console_open ? devfs_console_open(f) : -ENXIO;
}

static int open_ptmx(struct inode *i UNUSED, struct file *f)
{
    return devpts_hooks.open_master ? devpts_hooks.open_master(f) : -ENXIO;
}

#define DEVICE(n, nr, fn)                                               \
    {                                                                   \
        .name = (n), .mode = S_IFCHR | 0666, .rdev = (nr), .open = (fn) \
    }
#define RDEV(ma, mi) ((uint64_t)(ma) << 8 | (mi)) /* small numbers: makedev as a constant */

static const struct pseudo_node empty_nodes[] = {PSEUDO_END};

static const struct pseudo_node root_nodes[] = {
    DEVICE("null", RDEV(1, 3), open_null),
    DEVICE("zero", RDEV(1, 5), open_zero),
    DEVICE("full", RDEV(1, 7), open_full),
    DEVICE("random", RDEV(1, 8), open_random),
    DEVICE("urandom", RDEV(1, 9), open_random),
    DEVICE("tty", RDEV(5, 0), open_tty),
    DEVICE("console", RDEV(5, 1), open_console),
    DEVICE("ptmx", RDEV(5, 2), open_ptmx),
    PSEUDO_LINK("fd", "/proc/self/fd"),
    PSEUDO_LINK("stdin", "/proc/self/fd/0"),
    PSEUDO_LINK("stdout", "/proc/self/fd/1"),
    PSEUDO_LINK("stderr", "/proc/self/fd/2"),
    PSEUDO_DIR("shm", empty_nodes),
    PSEUDO_DIR("pts", empty_nodes),
    PSEUDO_END,
};

static const struct pseudo_node root_node = PSEUDO_DIR("/", root_nodes);

struct superblock *devfs_new(void)
{
    return pseudo_superblock("devtmpfs", TMPFS_MAGIC_NR, true, &root_node);
}
