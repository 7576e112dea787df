/* SPDX-License-Identifier: Apache-2.0
 * xattr.h - extended attributes held in memory. The owner locks. */
#ifndef FS_XATTR_H
#define FS_XATTR_H

#include <sys/types.h>

#include <base/list.h>

#define XATTR_TOTAL_MAX 65536u /* bytes of names and values of one inode */

struct xattrs {
    struct list_head list; /* zeroed: none yet */
    size_t bytes;
};
/* As getxattr(2) and its family; size 0 asks for the length. */
ssize_t xattrs_get(const struct xattrs *x, const char *name, void *buf, size_t size);
int xattrs_set(struct xattrs *x, const char *name, const void *buf, size_t size, int flags);
ssize_t xattrs_list(const struct xattrs *x, char *buf, size_t size);
int xattrs_remove(struct xattrs *x, const char *name);
void xattrs_free(struct xattrs *x);
/* Which names an in-memory file system keeps: user. and trusted. and security. */
bool xattr_name_supported(const char *name);

#endif
