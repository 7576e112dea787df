/* SPDX-License-Identifier: Apache-2.0
 * notify.c - tells watchers what happens to a file and to its entry in its directory.
 *
 * The operations of the vfs call in after they have succeeded; what is written through a mapping is
 * not noticed. The name is copied under the tree lock, the directory held by a reference. */
#include <vfs/notify.h>

#include "vfs_internal.h"

vfs_notify_fn g_vfs_notify;
_Atomic(uint32_t) g_vfs_watches;

void vfs_notify_path_slow(const struct path *p, uint32_t mask)
{
    struct dentry *d = p->dentry;
    char name[NAME_LEN_MAX + 1];
    struct inode *dir = NULL;
    size_t len = 0;

    if (!d->inode)
        return;
    if (S_ISDIR(inode_type(d->inode)))
        mask |= IN_ISDIR;
    spin_lock(&g_dentry_tree);
    if (d->parent && d->parent->inode && d->len <= NAME_LEN_MAX && !d->deleted) {
        len = d->len;
        memcpy(name, d->name, len);
        dir = inode_get(d->parent->inode);
    }
    spin_unlock(&g_dentry_tree);
    if (dir) {
        g_vfs_notify(dir, mask, 0, name, len);
        inode_put(dir);
    }
    g_vfs_notify(d->inode, mask, 0, NULL, 0);
}
