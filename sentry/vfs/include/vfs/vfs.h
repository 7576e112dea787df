/* SPDX-License-Identifier: Apache-2.0
 * vfs.h - inodes, dentries, mounts, path walk.
 *
 * File systems implement inode_ops and register a struct fs_type. The dentry cache belongs to the
 * vfs: positive and negative entries, LRU-limited, valid for ever on `exclusive` superblocks
 * (nobody else changes them) and revalidated on others. Attributes live in the inode and are
 * filled by the file system at lookup, so a warm stat causes no message.
 */
#ifndef VFS_VFS_H
#define VFS_VFS_H

#include <limits.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <vfs/file.h>

struct inode;
struct dentry;
struct mount;
struct superblock;
struct lock_range;
struct cred;

#define NAME_LEN_MAX 255
#define PATH_LEN_MAX 4096
#define SYMLINK_MAX 40
#define DENTRIES_MAX 200000u /* cached; the LRU end is dropped beyond it */
#define MOUNTS_MAX 1000u

struct attr {
    uint64_t ino;
    uint64_t dev; /* as st_dev: the superblock's */
    uint32_t mode, nlink, uid, gid;
    uint64_t rdev, size, blocks, blksize;
    struct timespec atime, mtime, ctime, btime;
};

#define ATTR_MODE 1u
#define ATTR_UID 2u
#define ATTR_GID 4u
#define ATTR_SIZE 8u
#define ATTR_ATIME 16u
#define ATTR_MTIME 32u
#define ATTR_ATIME_NOW 64u
#define ATTR_MTIME_NOW 128u
struct setattr {
    uint32_t valid; /* ATTR_* */
    uint32_t mode, uid, gid;
    uint64_t size;
    struct timespec atime, mtime;
};

/* All may park. Directory operations are called with dir->lock held (RANK_INODE), and only after
 * the vfs has checked permission, existence and kinds as far as its cache knows. Names are not
 * NUL-terminated, 1..255 bytes, no '/', not "." or "..". */
struct inode_ops {
    /* Reference to the child, ERR_PTR(-ENOENT), or another error. */
    struct inode *(*lookup)(struct inode *dir, const char *name, size_t len);
    /* Is the cached answer (child; NULL: negative) still right? Only asked on superblocks that are
     * not exclusive, without dir->lock. NULL: the vfs looks up again every time, and keeps its
     * entry when the same inode comes back. */
    bool (*revalidate)(struct inode *dir, const char *name, size_t len, struct inode *child);
    /* What superblock.changes read when somebody outside last changed the directory. Never parks. NULL:
     * nobody does. */
    uint64_t (*changed)(struct inode *dir);
    /* Unnamed regular file, nlink 0 (O_TMPFILE). NULL: -EOPNOTSUPP */
    struct inode *(*tmpfile)(struct inode *dir, uint32_t mode, const struct cred *c);
    struct inode *(*create)(struct inode *dir, const char *name, size_t len, uint32_t mode,
                            const struct cred *c); /* regular file; mode has the umask applied */
    struct inode *(*mknod)(struct inode *dir, const char *name, size_t len, uint32_t mode,
                           uint64_t rdev, const struct cred *c);
    struct inode *(*mkdir)(struct inode *dir, const char *name, size_t len, uint32_t mode,
                           const struct cred *c);
    struct inode *(*symlink)(struct inode *dir, const char *name, size_t len, const char *target,
                             const struct cred *c);
    int (*link)(struct inode *dir, const char *name, size_t len, struct inode *target);
    int (*unlink)(struct inode *dir, const char *name, size_t len, struct inode *victim);
    int (*rmdir)(struct inode *dir, const char *name, size_t len, struct inode *victim);
    /* flags RENAME_NOREPLACE, RENAME_EXCHANGE; victim may be NULL. */
    int (*rename)(struct inode *odir, const char *oname, size_t olen, struct inode *victim_src,
                  struct inode *ndir, const char *nname, size_t nlen, struct inode *victim_dst,
                  uint32_t flags);
    /* Target into buf (not NUL-terminated): length or -errno. */
    ssize_t (*readlink)(struct inode *i, char *buf, size_t size);
    /* Magic links (/proc/PID/fd/N): the object itself. Gives references. NULL: use readlink. */
    int (*follow)(struct inode *i, struct path *ret);
    int (*getattr)(struct inode *i, struct attr *ret); /* NULL: inode->attr as cached */
    int (*setattr)(struct inode *i, const struct setattr *s, const struct cred *c);
    /* Extra permission (beyond mode bits); NULL: generic mode bits. mask MAY_*. */
    int (*permission)(struct inode *i, int mask, const struct cred *c);
    /* Open file on this inode: set f->ops, f->private_data. Permission is checked, O_TRUNC is the
     * vfs's (setattr afterwards). May replace f->inode (get the new, put the old). Fifos are not
     * asked: g_vfs_hooks.fifo_open. */
    int (*open)(struct inode *i, struct file *f);
    /* fifos and sockets bound to names are the vfs's: struct inode has an anchor for them */
    int (*statfs)(struct superblock *sb, struct statfs *ret);
    ssize_t (*getxattr)(struct inode *i, const char *name, void *buf, size_t size);
    int (*setxattr)(struct inode *i, const char *name, const void *buf, size_t size, int flags);
    ssize_t (*listxattr)(struct inode *i, char *buf, size_t size);
    int (*removexattr)(struct inode *i, const char *name);
    struct mappable *(*mappable)(struct inode *i); /* regular files */
    /* Locks that bind others outside too, on superblocks that are not exclusive; NULL: there are none.
     * Called with i->lock held. lock: make what is held there for all of the sandbox @l->type, from
     * l->start to l->end; @flock: the other kind, of the whole file. -EBUSY: somebody outside stands
     * against it. lock_test: what stands against @l outside; *l becomes it, or F_UNLCK. */
    int (*lock)(struct inode *i, const struct lock_range *l, bool flock);
    int (*lock_test)(struct inode *i, struct lock_range *l);
    /* Last reference and not cached: free private state. Unlinked: delete. */
    void (*release)(struct inode *i);
};
#define MAY_EXEC 1
#define MAY_WRITE 2
#define MAY_READ 4

struct inode {
    struct refcount ref;
    const struct inode_ops *ops;
    struct superblock *sb;
    struct fmutex lock; /* RANK_INODE */
    struct spin attr_lock;
    struct attr attr; /* attr_lock */
    uint32_t type;    /* S_IFMT of the mode it was made with; never changes, read without a lock */
    void *private_data;
    bool dead;                 /* removed directory; lock */
    struct inode_locks *locks; /* vfs/locks.c */
    void *special;             /* pipe of a fifo, socket bound here; files/ and net/, under lock */
    void (*special_put)(void *);
};

/* For file systems: fill a new inode (one reference). NULL: no memory. */
struct inode *inode_new(struct superblock *sb, const struct inode_ops *ops, const struct attr *a,
                        void *private_data);
struct inode *inode_get(struct inode *i);
void inode_put(struct inode *i); /* ignores NULL, ERR_PTR; may park */
DEFINE_AUTO_PUT(inode)
void inode_attr(struct inode *i, struct attr *ret); /* snapshot of the cache */
static inline uint32_t inode_type(const struct inode *i)
{
    return i->type;
}
/* 0, -EACCES (or the file system's own answer). */
int inode_permission(struct inode *i, int mask, const struct cred *c);
int inode_getattr(struct inode *i, struct attr *ret); /* current: asks the file system; may park */
/* Unchecked change; keeps the cache right. Takes i->lock. may park. */
int inode_setattr(struct inode *i, const struct setattr *s, const struct cred *c);
bool inode_owner_or_capable(struct inode *i, const struct cred *c);
/* For create operations: owner and mode of a new inode in @dir (setgid directories). */
void inode_init_owner(struct inode *dir, uint32_t *mode, const struct cred *c, uint32_t *ret_uid,
                      uint32_t *ret_gid);
/* Change cached times to now. */
#define TOUCH_ATIME 1u
#define TOUCH_MTIME 2u
#define TOUCH_CTIME 4u
void inode_touch(struct inode *i, unsigned which);
void inode_add_nlink(struct inode *i, int delta); /* and ctime */

struct superblock {
    struct refcount ref;    /* users: mounts, stacked file systems */
    struct refcount inodes; /* live inodes, and one for the users */
    const char *type;       /* "tmpfs", "9p", "overlay", "proc", ... */
    uint64_t dev;
    bool exclusive; /* nobody outside the sandbox changes it, or it is told: */
    bool read_only;
    const _Atomic(uint64_t)
        *changes;   /* grows with each change told of; lives as long as the superblock */
    uint32_t magic; /* statfs f_type */
    char source[64];
    struct inode *root; /* reference */
    void *private_data;
    void (*shutdown)(struct superblock *sb); /* last user left: let go of what keeps inodes */
    void (*release)(struct superblock *sb);
    const struct inode_ops *ops; /* statfs */
    struct fmutex rename_lock;   /* RANK_FS_RENAME */
};
/* NULL: no memory. One reference; the file system then sets ->root. release() runs when the last
 * user and the last inode are gone. */
struct superblock *superblock_new(const char *type, uint32_t magic);
struct superblock *superblock_get(struct superblock *sb);
void superblock_put(struct superblock *sb);

/* --- mounts and paths --- */

struct fs_struct { /* root, cwd, umask: shared by CLONE_FS */
    struct refcount ref;
    struct spin lock;
    struct path root, cwd;
    uint32_t umask;
};
struct fs_struct *fs_struct_new(const struct path *root, const struct path *cwd, uint32_t umask);
struct fs_struct *fs_struct_copy(struct fs_struct *f);
struct fs_struct *fs_struct_get(struct fs_struct *f);
void fs_struct_put(struct fs_struct *f);

void path_get(const struct path *p);
void path_put(struct path *p); /* clears */
static inline void path_auto_put(struct path *p)
{
    path_put(p);
}
#define AUTO_PATH CLEANUP(path_auto_put)

int vfs_init(void);
/* First mount; gives a path with reference. Takes sb. */
int mount_root(struct superblock *sb, struct path *ret);
/* Mount @sb (taken) on @at. -EBUSY, -ENOTDIR, -ENOSPC (limit). */
int mount_add(struct superblock *sb, const struct path *at, uint32_t flags /* MS_RDONLY ... */);
int mount_remove(const struct path *at, int flags);
/* The same tree once more (MS_BIND). */
int mount_bind(const struct path *src, const struct path *at, uint32_t flags);
/* New MS_RDONLY, MS_NOSUID ... of the mount @at is the root of; -EINVAL when it is none. */
int mount_remount(const struct path *at, uint32_t flags);
/* Kernel-internal mount, in no tree (memfd, pipes). Takes sb. */
int mount_internal(struct superblock *sb, struct path *ret_root);
/* -EROFS when the mount or its file system is read-only. */
int path_want_write(const struct path *p);
uint32_t path_mount_flags(const struct path *p);
/* Out of the cache of names: @name in the root of every mount of @type, and what is below. May park. */
void mount_forget(const char *type, const char *name);
/* For /proc/PID/mounts, mountinfo: nth mount; false at the end. */
struct mount_info {
    uint32_t id, parent;
    uint64_t dev;
    const char *type;
    char source[64], target[256], options[128];
};
bool mount_info(unsigned n, struct mount_info *ret);

#define LOOKUP_NOFOLLOW 1u  /* last component: the symlink itself */
#define LOOKUP_DIRECTORY 2u /* must be a directory */
#define LOOKUP_PARENT 4u    /* resolve to the parent; last name in *ret_last */
#define LOOKUP_EMPTY 8u     /* "" = the directory itself (AT_EMPTY_PATH) */
#define LOOKUP_BENEATH 16u  /* openat2 RESOLVE_* */
#define LOOKUP_IN_ROOT 32u
#define LOOKUP_NO_MAGICLINKS 64u
#define LOOKUP_NO_SYMLINKS 128u
#define LOOKUP_NO_XDEV 256u
#define LOOKUP_CACHED 512u
#define LOOKUP_UNVEILED 1024u /* by nobody's view: nothing is hidden */
/* What the last component must be unveiled for (vfs/unveil.h); -EACCES. LOOKUP_MAY_READ * UNVEIL_* */
#define LOOKUP_MAY_READ (1u << 16)
#define LOOKUP_MAY_WRITE (LOOKUP_MAY_READ << 1)
#define LOOKUP_MAY_EXEC (LOOKUP_MAY_READ << 2)

struct last_name {
    char name[NAME_LEN_MAX + 1];
    size_t len;
    bool trailing_slash;
    int kind;     /* LAST_NORM, LAST_DOT, LAST_DOTDOT, LAST_ROOT */
    unsigned may; /* UNVEIL_* (vfs/unveil.h) of a LAST_NORM; 0: it is not to be seen */
};
enum { LAST_NORM, LAST_DOT, LAST_DOTDOT, LAST_ROOT };

/* @name: kernel copy of the guest's string. @dirfd as in openat. Gives references in *ret. */
int path_lookup(struct task *t, int dirfd, const char *name, unsigned flags, struct path *ret);
/* The same with other credentials (access(2)). */
int path_lookup_as(struct task *t, struct cred *cred, int dirfd, const char *name, unsigned flags,
                   struct path *ret);
int path_lookup_parent(struct task *t, int dirfd, const char *name, unsigned flags,
                       struct path *ret_dir, struct last_name *ret_last);
/* Absolute path as seen from the task's root ("(unreachable)" prefix as Linux; " (deleted)" when
 * @deleted_mark). Length without NUL, -ENAMETOOLONG. */
ssize_t path_format(struct task *t, const struct path *p, char *buf, size_t size,
                    bool deleted_mark);
/* Its name was removed while it was held. */
bool path_deleted(const struct path *p);
/* Copies a path string in: -ENOENT for "" unless allow_empty, -ENAMETOOLONG, -EFAULT. Free with
 * free(). */
char *path_copy_in(struct task *t, uaddr_t u, bool allow_empty);

/* --- operations by path for other parts of the kernel (exec, boot, proc) --- */
struct file *vfs_open(struct task *t, int dirfd, const char *name, uint32_t flags, uint32_t mode);
struct file *vfs_open_path(const struct path *p, uint32_t flags, struct cred *c);
int vfs_stat(struct task *t, int dirfd, const char *name, unsigned lookup_flags, struct stat *ret);
int vfs_fstat(struct file *f, struct stat *ret);
struct inode *path_inode(const struct path *p); /* borrowed; NULL: negative */
void attr_to_stat(const struct attr *a, struct stat *ret);

/* Modifications; arguments as the *at calls. mode without umask applied. */
int vfs_mkdir(struct task *t, int dirfd, const char *name, uint32_t mode);
int vfs_mknod(struct task *t, int dirfd, const char *name, uint32_t mode, uint64_t rdev);
int vfs_symlink(struct task *t, const char *target, int dirfd, const char *name);
int vfs_link(struct task *t, const struct path *target, int dirfd, const char *name);
int vfs_unlink(struct task *t, int dirfd, const char *name);
int vfs_rmdir(struct task *t, int dirfd, const char *name);
int vfs_rename(struct task *t, int odirfd, const char *oname, int ndirfd, const char *nname,
               uint32_t flags);
/* Checked changes of attributes. */
int vfs_chmod(struct task *t, const struct path *p, uint32_t mode);
int vfs_chown(struct task *t, const struct path *p, uint32_t uid, uint32_t gid);
int vfs_truncate(struct task *t, const struct path *p, int64_t size);
struct file *vfs_open_resolve(struct task *t, int dirfd, const char *name, uint32_t flags,
                              uint32_t mode, unsigned lookup_flags);
/* An unnamed file: inode (reference taken over) shown as "/NAME (deleted)" below an internal mount.
 */
struct file *vfs_open_unnamed(const struct path *root, struct inode *i, const char *name,
                              uint32_t flags, struct cred *c);
/* A place without a name below an internal mount for @i (reference taken over, also on error), shown
 * as @name. Gives references. -ENOMEM. */
int path_unnamed(const struct path *root, struct inode *i, const char *name, struct path *ret);
int path_stat(const struct path *p, struct stat *ret);

/* What higher parts plug in at boot. */
struct vfs_hooks {
    int (*fifo_open)(struct inode *i, struct file *f);
    void (*file_gone)(struct file *f); /* last reference: leave all epolls */
};
extern struct vfs_hooks g_vfs_hooks;

/* Permission to run: O_PATH-free open for exec with MAY_EXEC and regular-file checks. */
struct file *vfs_open_exec(struct task *t, int dirfd, const char *name, unsigned lookup_flags);

#endif
