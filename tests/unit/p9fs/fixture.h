/* SPDX-License-Identifier: Apache-2.0
 * fixture.h - small steps with inodes and files, as the vfs would take them. */
#ifndef TESTS_P9FS_FIXTURE_H
#define TESTS_P9FS_FIXTURE_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <base/err.h>
#include <fs/fs.h>
#include <kernel/task.h>

#include "client.h"
#include "p9fs_private.h"
#include "relay.h"

static struct client g_server; /* its process, directory and socket */
static struct cred *g_cred;

static inline void host_file(const char *name, const char *text)
{
    char path[256];
    client_path(&g_server, name, path);
    FILE *f = fopen(path, "w");
    if (!f)
        abort();
    fputs(text, f);
    fclose(f);
}

/* f0, f1 ... */
static inline void host_files(unsigned count, const char *text)
{
    for (unsigned n = 0; n < count; n++) {
        char name[16];
        snprintf(name, sizeof name, "f%u", n);
        host_file(name, text);
    }
}

static inline struct inode *find(struct inode *dir, const char *name)
{
    fmutex_lock(&dir->lock);
    struct inode *i = dir->ops->lookup(dir, name, strlen(name));
    fmutex_unlock(&dir->lock);
    return i;
}

static inline struct file *open_inode(struct inode *i, uint32_t flags)
{
    struct file *f = file_new(NULL, NULL, flags);
    if (IS_ERR(f))
        return f;
    f->inode = inode_get(i);
    int r = i->ops->open ? i->ops->open(i, f) : -ENXIO;
    if (r < 0) {
        file_put(f);
        return ERR_PTR(r);
    }
    return f;
}

static inline ssize_t file_get_bytes(struct file *f, void *buf, size_t n, int64_t off)
{
    struct uio u;
    uio_init_kernel(&u, buf, n);
    ssize_t r = f->ops->read(f, &u, &off, 0);
    uio_fini(&u);
    return r;
}

static inline ssize_t file_put_bytes(struct file *f, const void *buf, size_t n, int64_t off)
{
    struct uio u;
    uio_init_kernel(&u, (void *)(uintptr_t)buf, n);
    ssize_t r = f->ops->write(f, &u, &off, 0);
    uio_fini(&u);
    return r;
}

struct lister {
    struct getdents_ctx ctx;
    unsigned count, limit;
    char last[256];
};

static inline bool lister_emit(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino,
                               uint8_t type, int64_t next_off)
{
    struct lister *l = container_of(ctx, struct lister, ctx);
    (void)ino, (void)type, (void)next_off;
    if (l->count == l->limit)
        return false;
    l->count++;
    memcpy(l->last, name, len);
    l->last[len] = 0;
    return true;
}

#endif
