/* SPDX-License-Identifier: Apache-2.0
 * file.h - open files. A new kind of file is one .c file with one static const struct file_ops.
 *
 * Operations never wait for events: they return -EAGAIN and signal readiness through the file's
 * wait queue (vfs_read() and friends turn that into waiting, O_NONBLOCK or an error). They may park
 * for host I/O and 9P. NULL members mean the default given beside them.
 */
#ifndef VFS_FILE_H
#define VFS_FILE_H

#include <sys/stat.h>

#include <abi/types.h>
#include <base/lock.h>
#include <base/refcount.h>
#include <kernel/wait.h>
#include <mm/mm.h>

struct async;
struct file;
struct task;
struct inode;
struct dentry;
struct mount;
struct getdents_ctx;
struct socket_ops;

struct path {
    struct mount *mnt;
    struct dentry *dentry;
};

struct file_ops {
    const char *name; /* for /proc/PID/fd of files without a path: "pipe:[%ino]" is made from it */
    /* @pos: NULL for streams; else in/out. Count, 0 at end, -EAGAIN, -errno. Default -EINVAL. */
    ssize_t (*read)(struct file *f, struct uio *u, int64_t *pos, unsigned flags);
    ssize_t (*write)(struct file *f, struct uio *u, int64_t *pos, unsigned flags);
    /* POLL* bits that hold now. Default: POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM. */
    uint32_t (*readiness)(struct file *f);
    /* Where readiness changes are signalled; NULL: always ready. */
    struct wait_queue *(*wait_queue)(struct file *f);
    int64_t (*seek)(struct file *f, int64_t off, int whence); /* default -ESPIPE */
    /* Emit entries behind f->pos ("." and ".." too: getdents_emit_dots) until getdents_emit() says
     * stop; the caller sets f->pos. Called with pos_lock held. Default -ENOTDIR. */
    int (*readdir)(struct file *f, struct getdents_ctx *ctx);
    sysret_t (*ioctl)(struct file *f, struct task *t, uint32_t cmd,
                      uint64_t arg);              /* default -ENOTTY */
    int (*fsync)(struct file *f, bool data_only); /* default 0/-EINVAL */
    int (*fallocate)(struct file *f, int mode, int64_t off, int64_t len);
    /* Object to map, borrowed; ERR_PTR(-ENODEV) by default. */
    struct mappable *(*mappable)(struct file *f);
    /* F_SETFL, FIONBIO, FIOASYNC changed f->flags; may refuse. */
    int (*flags_changed)(struct file *f, uint32_t old_flags);
    int (*flush)(struct file *f, struct task *t); /* each close() of a descriptor */
    void (*release)(struct file *f);              /* last reference; frees private */
    const struct socket_ops *socket;              /* NULL: no socket (files/socket_ops.h) */
    bool async;                                   /* O_ASYNC sends signals */
    uint32_t wait_one; /* POLLIN, POLLOUT: of those who wait for it one is woken at a time */
    bool no_sigpipe;   /* -EPIPE of a write comes without the signal */
    /* How long a read or write may wait, ns; 0: without end, the default. */
    int64_t (*timeout_ns)(struct file *f, bool write);
    /* open() of /proc/PID/fd/N of a file without an inode: sets fresh->ops and private_data.
     * Default -ENXIO. */
    int (*reopen)(struct file *f, struct file *fresh);
    int (*getattr)(struct file *f,
                   struct stat *ret); /* files without an inode; default anon inode */
};

struct file {
    struct refcount ref;
    const struct file_ops *ops;
    uint32_t
        flags; /* O_ACCMODE | O_APPEND | O_NONBLOCK | O_PATH ... (not O_CLOEXEC); atomic word */
    struct path path;    /* empty for anonymous files; its inode is the identity (fstat, locks) */
    struct inode *inode; /* reference; serves the data: a stacked fs puts its lower's here at open.
                          * NULL for anonymous files */
    struct fmutex pos_lock; /* RANK_FILE: read/write/seek/getdents on a shared position */
    int64_t pos;
    void *private_data;
    uint64_t ino;                  /* of anonymous files */
    struct list_head epitems;      /* files/epoll.c: watchers, under its lock */
    struct cred *cred;             /* opener's */
    _Atomic(struct async *) async; /* F_SETOWN, O_ASYNC: kernel/async.h; NULL nobody asked */
};
#define FILE_LARGEFILE 0100000u /* O_LARGEFILE as F_GETFL shows it on x86-64 */

/* New file with one reference; takes no inode. ERR_PTR(-ENOMEM), -ENFILE (limit). */
struct file *file_new(const struct file_ops *ops, void *private_data, uint32_t flags);
struct file *file_get(struct file *f);
void file_put(struct file *f); /* ignores NULL and ERR_PTR; may park */
DEFINE_AUTO_PUT(file)
uint64_t anon_ino_next(void);
uint64_t file_count(void);
#define FILES_MAX 100000u /* open files of a sandbox */

/* The file's async, made if there is none; ERR_PTR(-ENOMEM), NULL when it has no wait queue. */
struct async *file_async(struct file *f);

uint32_t file_readiness(struct file *f);
/* Wait inside a handler until one of @mask holds (arms, re-checks). SYS_PARK or an error; 0-cost
 * when file is always ready: call_run_again. */
sysret_t call_wait_file(struct call *c, struct file *f, uint32_t mask);
/* The same for one who will take what comes: others who wait so are not woken with it. */
sysret_t call_wait_file_one(struct call *c, struct file *f, uint32_t mask);

/* Reads and writes with position, O_NONBLOCK, waiting and SIGPIPE done: what handlers return. @pos
 * < 0 = file's own position (locked). */
sysret_t vfs_read(struct call *c, struct file *f, struct uio *u, int64_t pos);
sysret_t vfs_write(struct call *c, struct file *f, struct uio *u, int64_t pos);
/* The same, one try: count, -EAGAIN, -errno. */
ssize_t vfs_read_nowait(struct file *f, struct uio *u, int64_t pos);
ssize_t vfs_write_nowait(struct task *t, struct file *f, struct uio *u, int64_t pos);
/* In-kernel read of a regular file (loader): count or -errno; may park. */
ssize_t file_pread_kernel(struct file *f, void *buf, size_t n, int64_t off);

/* Who collects directory entries: getdents (a kernel buffer), or a stacked file system. */
struct getdents_ctx {
    bool (*emit)(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino, uint8_t type,
                 int64_t next_off);
    int64_t pos; /* behind the last entry taken */
};
/* readdir: emit one entry (type: DT_*); @next_off = position behind it. false: buffer full, stop:
 * this entry was not taken. */
bool getdents_emit(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino,
                   uint8_t type, int64_t next_off);
/* Emits "." (position 0 -> 1) and ".." (1 -> 2) when f->pos asks for them. false: stop. */
bool getdents_emit_dots(struct file *f, struct getdents_ctx *ctx);
/* Run f->ops->readdir from the file's position, which moves. 0 or -errno; may park. */
int vfs_readdir(struct file *f, struct getdents_ctx *ctx);
/* The inode that identifies the file (path's); NULL for anonymous files. Borrowed. */
struct inode *file_inode(const struct file *f);
/* ssize_t of a write into a regular file by the kernel; count or -errno; may park. */
ssize_t file_pwrite_kernel(struct file *f, const void *buf, size_t n, int64_t off);
/* lseek for ops->seek of files with a size: SEEK_SET, CUR, END, DATA, HOLE (no holes). */
int64_t file_seek_size(struct file *f, int64_t off, int whence, uint64_t size);

#endif
