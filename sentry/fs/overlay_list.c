/* SPDX-License-Identifier: Apache-2.0
 * overlay_list.c - reading merged directories.
 *
 * An open directory takes a listing at its start and after each rewind: the lower's names that the
 * table does not change, then the table's. Positions are indices into it, so they stay right
 * whatever is created or removed meanwhile (rm -r removes while it reads). */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "overlay.h"

struct ov_name {
    uint64_t ino;
    uint32_t at; /* in the text */
    uint8_t len, type;
};

struct ov_list {
    struct getdents_ctx ctx; /* collects from the lower */
    struct dirtable *changed;
    struct ov_name *names;
    uint32_t count, capacity;
    char *text;
    uint32_t text_len, text_capacity;
    unsigned taken; /* by the last call of the lower's readdir */
    bool failed;
    bool want_any; /* only: is there a name? */
};

void ov_list_free(struct ov_list *l)
{
    if (!l)
        return;
    free(l->names);
    free(l->text);
    free(l);
}

static bool list_add_name(struct ov_list *l, const char *name, size_t len, uint64_t ino,
                          uint8_t type)
{
    if (l->count == l->capacity) {
        uint32_t n = l->capacity ? l->capacity * 2 : 32;
        struct ov_name *a = n > OVERLAY_DIR_MAX ? NULL : realloc(l->names, n * sizeof(*a));
        if (!a)
            return false;
        l->names = a;
        l->capacity = n;
    }
    if (l->text_capacity - l->text_len < len) {
        uint32_t n = l->text_capacity ? l->text_capacity * 2 : 1024;
        char *a = realloc(l->text, n);
        if (!a)
            return false;
        l->text = a;
        l->text_capacity = n;
    }
    memcpy(l->text + l->text_len, name, len);
    l->names[l->count++] = (struct ov_name){ino, l->text_len, (uint8_t)len, type};
    l->text_len += (uint32_t)len;
    return true;
}

static bool lower_emit(struct getdents_ctx *ctx, const char *name, size_t len, uint64_t ino,
                       uint8_t type, int64_t next_off)
{
    (void)next_off;
    struct ov_list *l = container_of(ctx, struct ov_list, ctx);
    l->taken++;
    if (len == 0 || len > NAME_LEN_MAX || (len == 1 && name[0] == '.') ||
        (len == 2 && name[0] == '.' && name[1] == '.'))
        return true;
    if (dirtable_find(l->changed, name, len))
        return true;
    if (!list_add_name(l, name, len, ino, type)) {
        l->failed = true;
        return false;
    }
    return !l->want_any;
}

static int list_lower(struct ov_list *l, struct inode *lower)
{
    struct file *f AUTO_PUT(file) = file_new(NULL, NULL, O_RDONLY | O_DIRECTORY);
    if (IS_ERR(f))
        return PTR_ERR(f);
    static const struct file_ops none = {.name = "none"};
    f->inode = inode_get(lower);
    int r = lower->ops->open ? lower->ops->open(lower, f) : -ENOTDIR;
    if (r < 0 || !f->ops) {
        f->ops = &none;
        return r < 0 ? r : -ENOTDIR;
    }
    if (!f->ops->readdir)
        return -ENOTDIR;
    do {
        l->taken = 0;
        r = f->ops->readdir(f, &l->ctx);
        f->pos = l->ctx.pos;
        if (l->want_any && l->count)
            break;
    } while (r == 0 && l->taken && !l->failed);
    return r < 0 ? r : l->failed ? -ENOMEM : 0;
}

/* dir->lock held. */
static struct ov_list *list_new(struct inode *dir, bool want_any)
{
    struct ov_inode *oi = ov_i(dir);
    struct ov_list *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_PTR(-ENOMEM);
    l->ctx.emit = lower_emit;
    l->changed = &oi->dir;
    l->want_any = want_any;
    int r = oi->lower ? list_lower(l, oi->lower) : 0;
    struct dir_entry *e;
    for (int64_t at = 0; r == 0 && (e = dirtable_next(&oi->dir, at)); at = e->cookie + 1)
        if (e->inode && !list_add_name(l, e->name, e->len, e->inode->attr.ino,
                                       (uint8_t)IFTODT(inode_type(e->inode))))
            r = -ENOMEM;
    if (r == 0)
        return l;
    ov_list_free(l);
    return ERR_PTR(r);
}

int ov_dir_empty(struct inode *dir)
{
    struct ov_list *l = list_new(dir, true);
    if (IS_ERR(l))
        return PTR_ERR(l);
    int r = l->count ? -ENOTEMPTY : 0;
    ov_list_free(l);
    return r;
}

static int ov_readdir(struct file *f, struct getdents_ctx *ctx)
{
    struct inode *dir = f->inode;
    if (f->pos == 0 || !f->private_data) {
        fmutex_lock(&dir->lock);
        struct ov_list *l = list_new(dir, false);
        fmutex_unlock(&dir->lock);
        if (IS_ERR(l))
            return PTR_ERR(l);
        ov_list_free(f->private_data);
        f->private_data = l;
    }
    if (!getdents_emit_dots(f, ctx))
        return 0;
    const struct ov_list *l = f->private_data;
    for (int64_t k = ctx->pos - 2; k >= 0 && k < (int64_t)l->count; k++) {
        const struct ov_name *n = &l->names[k];
        if (!getdents_emit(ctx, l->text + n->at, n->len, n->ino, n->type, k + 3))
            break;
    }
    return 0;
}

static int64_t ov_dir_seek(struct file *f, int64_t off, int whence)
{
    if (whence == SEEK_CUR)
        off += f->pos;
    if ((whence != SEEK_SET && whence != SEEK_CUR) || off < 0)
        return -EINVAL;
    return f->pos = off;
}

static void ov_dir_release(struct file *f)
{
    ov_list_free(f->private_data);
}

static int ov_dir_fsync(struct file *f, bool data_only)
{
    (void)f;
    (void)data_only;
    return 0;
}

const struct file_ops ov_dir_ops = {
    .name = "overlay",
    .readdir = ov_readdir,
    .seek = ov_dir_seek,
    .fsync = ov_dir_fsync,
    .release = ov_dir_release,
};
