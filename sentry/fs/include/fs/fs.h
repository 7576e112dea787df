/* SPDX-License-Identifier: Apache-2.0
 * fs.h - constructors of the file systems. Each returns a superblock with one reference or ERR_PTR.
 */
#ifndef FS_FS_H
#define FS_FS_H

#include <vfs/vfs.h>

struct memfile;

/* Once, before any other: where file data lives; the internal mount of memfds. 0, -ENOMEM. */
int fs_init(struct memfile *mf);

/* tmpfs: @limit_bytes of file data (0: bounded by the memory file only), @mode of the root. */
struct superblock *tmpfs_new(uint64_t limit_bytes, uint32_t mode, uint32_t uid, uint32_t gid);

/* memfd_create(2): MFD_* flags. */
struct file *memfd_new(const char *name, uint32_t flags, struct cred *c);
/* F_ADD_SEALS, F_GET_SEALS: -EINVAL when the file has no seals. */
int memfd_seals_add(struct file *f, uint32_t seals);
int memfd_seals_get(struct file *f);

/* Overlay: @lower (reference taken over) read-only, writes go to a memory upper. st_ino and st_dev
 * stable across copy-up; readdir offsets stable. */
struct superblock *overlay_new(struct superblock *lower, uint64_t upper_limit_bytes);

/* 9P over a connected stream socket (taken over). Host I/O through host/io.h. EIO and a closed
 * connection when the server lies or dies. */
struct p9fs_config {
    const char *aname;  /* attach name */
    const char *source; /* shown; NULL: "9p" */
    uint32_t uid;       /* said to the server; UINT32_MAX: nobody in particular */
    bool exclusive;     /* nobody else changes anything: cached for ever */
    bool read_only;
};
struct superblock *p9fs_new(int sock, const struct p9fs_config *cfg);

/* Before confinement: what /proc and /sys tell about the machine. */
void procfs_capture_host(void);
/* How many descriptors donated by servers may be held at once, all mounts (host/limits.h:
 * donated_fds). Before the first p9fs_new(). */
void p9fs_limit_fds(uint32_t fds);

struct superblock *procfs_new(void);
/* The process whose directory /proc/PID @f is open on: a reference; NULL: it is no such directory;
 * ERR_PTR(-ESRCH): the process has gone. */
struct process *procfs_process(const struct file *f);
void procfs_process_gone(int32_t pid); /* it has been waited for: nothing of it stays in caches */
struct superblock *sysfs_new(void);
/* /dev: null zero full random urandom tty stdin stdout stderr fd, ptmx, shm/ and pts/ to mount on. */
struct superblock *devfs_new(void);
/* What opening /dev/tty gives: sets f->ops and f->private_data; -ENXIO without a terminal (also the
 * default). Set at boot by whoever has one. */
extern int (*devfs_tty_open)(struct file *f);
/* The same for /dev/console: the caller's terminal, whoever's it is inside. */
extern int (*devfs_console_open)(struct file *f);
/* /dev/pts, and what it asks those who have terminals: files/files.h has the same names. */
struct superblock *devpts_new(void);
extern struct devpts_hooks {
    int (*open_master)(struct file *f);
    int (*open_slave)(int32_t index, struct file *f);
    int32_t (*next)(int32_t after);
    int (*node)(int32_t index, const struct setattr *set, struct attr *ret);
} devpts_hooks;
/* Terminal of a session: false when it has none. Set at boot; NULL: none has. */
extern bool (*procfs_session_tty)(int32_t sid, uint32_t *ret_rdev, int32_t *ret_pgid);
/* The lines of /proc/net/@name below the heading, allocated. Set at boot; NULL: none. */
extern int (*procfs_net_show)(const char *name, char **ret_text, size_t *ret_len);

#endif
