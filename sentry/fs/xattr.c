/* SPDX-License-Identifier: Apache-2.0
 * xattr.c - extended attributes held in memory (xattr.h): a list, bounded in bytes. */
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include <base/err.h>

#include "xattr.h"

struct xattr {
    struct list_head link;
    size_t name_len, size;
    char data[]; /* name, NUL, value */
};

bool xattr_name_supported(const char *name)
{
    return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 ||
           strncmp(name, "security.", 9) == 0;
}

static struct xattr *xattr_find(const struct xattrs *x, const char *name)
{
    struct xattr *a;
    if (!x->list.next)
        return NULL;
    list_for_each_entry (a, &x->list, link)
        if (strcmp(a->data, name) == 0)
            return a;
    return NULL;
}

ssize_t xattrs_get(const struct xattrs *x, const char *name, void *buf, size_t size)
{
    if (!xattr_name_supported(name))
        return -EOPNOTSUPP;
    const struct xattr *a = xattr_find(x, name);
    if (!a)
        return -ENODATA;
    if (!size)
        return (ssize_t)a->size;
    if (size < a->size)
        return -ERANGE;
    memcpy(buf, a->data + a->name_len + 1, a->size);
    return (ssize_t)a->size;
}

static void xattr_drop(struct xattrs *x, struct xattr *a)
{
    x->bytes -= a->name_len + a->size;
    list_del(&a->link);
    free(a);
}

int xattrs_set(struct xattrs *x, const char *name, const void *buf, size_t size, int flags)
{
    if (!xattr_name_supported(name))
        return -EOPNOTSUPP;
    struct xattr *old = xattr_find(x, name);
    if (old && (flags & XATTR_CREATE))
        return -EEXIST;
    if (!old && (flags & XATTR_REPLACE))
        return -ENODATA;
    size_t name_len = strlen(name);
    if (x->bytes + name_len + size > XATTR_TOTAL_MAX)
        return -ENOSPC;
    struct xattr *a = malloc(sizeof(*a) + name_len + 1 + size);
    if (!a)
        return -ENOMEM;
    a->name_len = name_len;
    a->size = size;
    memcpy(a->data, name, name_len + 1);
    if (size)
        memcpy(a->data + name_len + 1, buf, size);
    if (!x->list.next)
        list_init(&x->list);
    if (old)
        xattr_drop(x, old);
    list_add_tail(&a->link, &x->list);
    x->bytes += name_len + size;
    return 0;
}

ssize_t xattrs_list(const struct xattrs *x, char *buf, size_t size)
{
    struct xattr *a;
    size_t n = 0;
    if (!x->list.next)
        return 0;
    list_for_each_entry (a, &x->list, link) {
        if (size && n + a->name_len + 1 > size)
            return -ERANGE;
        if (size)
            memcpy(buf + n, a->data, a->name_len + 1);
        n += a->name_len + 1;
    }
    return (ssize_t)n;
}

int xattrs_remove(struct xattrs *x, const char *name)
{
    if (!xattr_name_supported(name))
        return -EOPNOTSUPP;
    struct xattr *a = xattr_find(x, name);
    if (!a)
        return -ENODATA;
    xattr_drop(x, a);
    return 0;
}

void xattrs_free(struct xattrs *x)
{
    struct xattr *a, *tmp;
    if (!x->list.next)
        return;
    list_for_each_entry_safe (a, tmp, &x->list, link)
        xattr_drop(x, a);
}
