/* SPDX-License-Identifier: Apache-2.0
 * notify.h - what happens to files, told to whoever watches (files/inotify.c).
 *
 * Everything here is one load and a branch while nobody watches. Masks are IN_* of inotify(7).
 */
#ifndef VFS_NOTIFY_H
#define VFS_NOTIFY_H

#include <stdatomic.h>
#include <sys/inotify.h>

#include <vfs/vfs.h>

/* Set at boot by the watcher; may put references, so may park. Called with no spin lock held.
 * @name: the entry of the directory @i; NULL: @i itself. */
typedef void (*vfs_notify_fn)(struct inode *i, uint32_t mask, uint32_t cookie, const char *name,
                              size_t len);
extern vfs_notify_fn g_vfs_notify;
extern _Atomic(uint32_t) g_vfs_watches; /* how many watches there are */

static inline bool vfs_watched(void)
{
    return atomic_load_explicit(&g_vfs_watches, memory_order_relaxed) != 0;
}

/* @mask happened to the file at @p: told to it and, with its name, to its directory. */
void vfs_notify_path_slow(const struct path *p, uint32_t mask);
static inline void vfs_notify_path(const struct path *p, uint32_t mask)
{
    if (vfs_watched() && p->dentry)
        vfs_notify_path_slow(p, mask);
}
/* @mask happened to the entry @name of @dir. */
static inline void vfs_notify_entry(struct inode *dir, uint32_t mask, uint32_t cookie,
                                    const char *name, size_t len)
{
    if (vfs_watched())
        g_vfs_notify(dir, mask, cookie, name, len);
}
/* @mask happened to @i whatever its name. */
static inline void vfs_notify_inode(struct inode *i, uint32_t mask)
{
    if (vfs_watched())
        g_vfs_notify(i, mask | (S_ISDIR(inode_type(i)) ? IN_ISDIR : 0u), 0, NULL, 0);
}

#endif
