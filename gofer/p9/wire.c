/* SPDX-License-Identifier: Apache-2.0
 * wire.c - the codec: primitive readers and writers, and one encoder and decoder per message,
 * expanded from messages.def.
 *
 * Both peers may lie to it. A reader carries its end; a read past it sets `bad` and yields zero,
 * so a decoder is straight-line code with one test at the end. A message must be used up exactly.
 * Counts are compared with the limits of p9.h before anything is stored. No I/O, no allocation,
 * no locks, no state.
 */
#include <p9/wire.h>

#include <errno.h>
#include <string.h>

struct reader {
    const uint8_t *p, *end;
    bool bad;
};

struct writer {
    uint8_t *base;
    size_t cap, len;
    size_t extra; /* bytes announced by a DATA field that the caller sends himself */
    bool full;
};

/* --- reading --- */

static const uint8_t *take(struct reader *r, size_t n)
{
    if (r->bad || (size_t)(r->end - r->p) < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->p;
    r->p += n;
    return p;
}

static uint64_t get_le(struct reader *r, unsigned bytes)
{
    const uint8_t *p = take(r, bytes);
    uint64_t v = 0;
    if (p)
        for (unsigned i = 0; i < bytes; i++)
            v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static void get_U8(struct reader *r, uint8_t *v)
{
    *v = (uint8_t)get_le(r, 1);
}

static void get_U16(struct reader *r, uint16_t *v)
{
    *v = (uint16_t)get_le(r, 2);
}

static void get_U32(struct reader *r, uint32_t *v)
{
    *v = (uint32_t)get_le(r, 4);
}

static void get_U64(struct reader *r, uint64_t *v)
{
    *v = get_le(r, 8);
}

static void get_STR(struct reader *r, struct p9_str *v)
{
    uint16_t len = (uint16_t)get_le(r, 2);
    const uint8_t *p = len <= P9_STR_MAX ? take(r, len) : NULL;
    if (!p || memchr(p, 0, len)) {
        r->bad = true;
        v->s = "";
        v->len = 0;
        return;
    }
    v->s = (const char *)p;
    v->len = len;
}

static void get_DATA(struct reader *r, struct p9_data *v)
{
    uint32_t len = (uint32_t)get_le(r, 4);
    v->base = take(r, len);
    v->len = v->base ? len : 0;
}

static void get_QID(struct reader *r, struct p9_qid *v)
{
    get_U8(r, &v->type);
    get_U32(r, &v->version);
    get_U64(r, &v->path);
}

static uint16_t get_count(struct reader *r, uint16_t max)
{
    uint16_t n = (uint16_t)get_le(r, 2);
    if (n > max)
        r->bad = true;
    return r->bad ? 0 : n;
}

static void get_QIDS(struct reader *r, struct p9_qids *v)
{
    v->count = get_count(r, P9_WALK_MAX);
    for (unsigned i = 0; i < v->count; i++)
        get_QID(r, &v->qid[i]);
}

static void get_NAMES(struct reader *r, struct p9_names *v)
{
    v->count = get_count(r, P9_WALK_MAX);
    for (unsigned i = 0; i < v->count; i++)
        get_STR(r, &v->name[i]);
}

static void get_LIST(struct reader *r, struct p9_list *v)
{
    v->count = get_count(r, P9_LIST_MAX);
    for (unsigned i = 0; i < v->count; i++)
        get_STR(r, &v->name[i]);
}

static void get_time(struct reader *r, struct p9_time *v)
{
    get_U64(r, &v->sec);
    get_U32(r, &v->nsec);
    if (v->nsec >= 1000000000u)
        r->bad = true;
}

static void get_ATTR(struct reader *r, struct p9_attr *v)
{
    get_U8(r, &v->valid);
    if (!v->valid) {
        *v = (struct p9_attr){0};
        return;
    }
    get_QID(r, &v->qid);
    get_U64(r, &v->dev);
    get_U64(r, &v->ino);
    get_U32(r, &v->mode);
    get_U32(r, &v->uid);
    get_U32(r, &v->gid);
    get_U32(r, &v->nlink);
    get_U64(r, &v->rdev);
    get_U64(r, &v->size);
    get_U64(r, &v->blocks);
    get_U32(r, &v->blksize);
    get_time(r, &v->atime);
    get_time(r, &v->mtime);
    get_time(r, &v->ctime);
    get_time(r, &v->btime);
}

static void get_ATTRS(struct reader *r, struct p9_attrs *v)
{
    v->count = get_count(r, P9_WALK_MAX);
    for (unsigned i = 0; i < v->count; i++)
        get_ATTR(r, &v->attr[i]);
}

/* --- writing --- */

static uint8_t *room(struct writer *w, size_t n)
{
    if (w->full || w->cap - w->len < n) {
        w->full = true;
        return NULL;
    }
    uint8_t *p = w->base + w->len;
    w->len += n;
    return p;
}

static void put_le(struct writer *w, uint64_t v, unsigned bytes)
{
    uint8_t *p = room(w, bytes);
    if (p)
        for (unsigned i = 0; i < bytes; i++)
            p[i] = (uint8_t)(v >> (8 * i));
}

static void put_bytes(struct writer *w, const void *src, size_t n)
{
    uint8_t *p = room(w, n);
    if (p && n)
        memcpy(p, src, n);
}

static void put_U8(struct writer *w, const uint8_t *v)
{
    put_le(w, *v, 1);
}

static void put_U16(struct writer *w, const uint16_t *v)
{
    put_le(w, *v, 2);
}

static void put_U32(struct writer *w, const uint32_t *v)
{
    put_le(w, *v, 4);
}

static void put_U64(struct writer *w, const uint64_t *v)
{
    put_le(w, *v, 8);
}

static void put_STR(struct writer *w, const struct p9_str *v)
{
    if (v->len > P9_STR_MAX)
        w->full = true;
    put_U16(w, &v->len);
    put_bytes(w, v->s, v->len);
}

static void put_DATA(struct writer *w, const struct p9_data *v)
{
    put_U32(w, &v->len);
    if (v->base)
        put_bytes(w, v->base, v->len);
    else
        w->extra += v->len;
}

static void put_QID(struct writer *w, const struct p9_qid *v)
{
    put_U8(w, &v->type);
    put_U32(w, &v->version);
    put_U64(w, &v->path);
}

static uint16_t put_count(struct writer *w, uint16_t n, uint16_t max)
{
    if (n > max) {
        w->full = true;
        return 0;
    }
    put_U16(w, &n);
    return n;
}

static void put_QIDS(struct writer *w, const struct p9_qids *v)
{
    uint16_t n = put_count(w, v->count, P9_WALK_MAX);
    for (unsigned i = 0; i < n; i++)
        put_QID(w, &v->qid[i]);
}

static void put_NAMES(struct writer *w, const struct p9_names *v)
{
    uint16_t n = put_count(w, v->count, P9_WALK_MAX);
    for (unsigned i = 0; i < n; i++)
        put_STR(w, &v->name[i]);
}

static void put_LIST(struct writer *w, const struct p9_list *v)
{
    uint16_t n = put_count(w, v->count, P9_LIST_MAX);
    for (unsigned i = 0; i < n; i++)
        put_STR(w, &v->name[i]);
}

static void put_time(struct writer *w, const struct p9_time *v)
{
    put_U64(w, &v->sec);
    put_U32(w, &v->nsec);
}

static void put_ATTR(struct writer *w, const struct p9_attr *v)
{
    put_U8(w, &v->valid);
    if (!v->valid)
        return;
    put_QID(w, &v->qid);
    put_U64(w, &v->dev);
    put_U64(w, &v->ino);
    put_U32(w, &v->mode);
    put_U32(w, &v->uid);
    put_U32(w, &v->gid);
    put_U32(w, &v->nlink);
    put_U64(w, &v->rdev);
    put_U64(w, &v->size);
    put_U64(w, &v->blocks);
    put_U32(w, &v->blksize);
    put_time(w, &v->atime);
    put_time(w, &v->mtime);
    put_time(w, &v->ctime);
    put_time(w, &v->btime);
}

static void put_ATTRS(struct writer *w, const struct p9_attrs *v)
{
    uint16_t n = put_count(w, v->count, P9_WALK_MAX);
    for (unsigned i = 0; i < n; i++)
        put_ATTR(w, &v->attr[i]);
}

/* --- messages --- */

static struct reader message_open(const void *msg, size_t len, uint8_t type, uint16_t *ret_tag)
{
    struct reader r = {.p = msg, .end = (const uint8_t *)msg + len};
    if (get_le(&r, 4) != len || get_le(&r, 1) != type)
        r.bad = true;
    *ret_tag = (uint16_t)get_le(&r, 2);
    return r;
}

static int message_close(const struct reader *r)
{
    return r->bad || r->p != r->end ? -EPROTO : 0;
}

static struct writer message_start(void *buf, size_t cap, uint8_t type, uint16_t tag)
{
    struct writer w = {.base = buf, .cap = cap};
    put_le(&w, 0, 4);
    put_U8(&w, &type);
    put_U16(&w, &tag);
    return w;
}

static int message_end(struct writer *w)
{
    size_t size = w->len + w->extra;
    if (w->full || size > P9_MSIZE_MAX)
        return -EMSGSIZE;
    for (unsigned i = 0; i < 4; i++)
        w->base[i] = (uint8_t)(size >> (8 * i));
    return (int)w->len;
}

#define F(kind, field) put_##kind(&w, &m->field);
#define M(name, nr, fields)                                                \
    int p9_encode_##name(void *buf, size_t cap, const struct p9_##name *m) \
    {                                                                      \
        struct writer w = message_start(buf, cap, (nr), m->tag);           \
        fields return message_end(&w);                                     \
    }
#include <p9/messages.def>
#undef M
#undef F

#define F(kind, field) get_##kind(&r, &ret->field);
#define M(name, nr, fields)                                                  \
    int p9_decode_##name(const void *msg, size_t len, struct p9_##name *ret) \
    {                                                                        \
        struct reader r = message_open(msg, len, (nr), &ret->tag);           \
        fields return message_close(&r);                                     \
    }
#include <p9/messages.def>
#undef M
#undef F

int64_t p9_frame(const void *buf, size_t have, uint32_t msize)
{
    if (have < 4)
        return 0;
    struct reader r = {.p = buf, .end = (const uint8_t *)buf + 4};
    uint64_t size = get_le(&r, 4);
    return size < P9_HDR || size > msize ? -EPROTO : (int64_t)size;
}

uint8_t p9_type_of(const void *msg)
{
    return ((const uint8_t *)msg)[4];
}

uint16_t p9_tag_of(const void *msg)
{
    const uint8_t *p = msg;
    return (uint16_t)(p[5] | p[6] << 8);
}

const char *p9_type_name(uint8_t type)
{
    switch (type) {
#define F(kind, field)
#define M(name, nr, fields) \
    case (nr):              \
        return #name;
#include <p9/messages.def>
#undef M
#undef F
    default:
        return "?";
    }
}

/* --- names and entries --- */

bool p9_name_ok(const struct p9_str *name)
{
    if (name->len == 0 || name->len > P9_NAME_MAX)
        return false;
    if (name->s[0] == '.' && (name->len == 1 || (name->len == 2 && name->s[1] == '.')))
        return false;
    return !memchr(name->s, '/', name->len) && !memchr(name->s, 0, name->len);
}

bool p9_str_equal(const struct p9_str *a, const char *b)
{
    return strlen(b) == a->len && memcmp(a->s, b, a->len) == 0;
}

struct p9_str p9_str_from(const char *s)
{
    size_t n = strlen(s);
    return (struct p9_str){.s = s, .len = (uint16_t)MIN(n, (size_t)UINT16_MAX)};
}

int p9_encode_dirent(void *buf, size_t cap, const struct p9_dirent *d, bool with_attr)
{
    struct writer w = {.base = buf, .cap = cap};
    put_QID(&w, &d->qid);
    put_U64(&w, &d->offset);
    put_U8(&w, &d->type);
    put_STR(&w, &d->name);
    if (with_attr)
        put_ATTR(&w, &d->attr);
    return w.full ? -EMSGSIZE : (int)w.len;
}

int p9_decode_dirent(const void *buf, size_t len, struct p9_dirent *ret, bool with_attr)
{
    if (len == 0)
        return 0;
    struct reader r = {.p = buf, .end = (const uint8_t *)buf + len};
    get_QID(&r, &ret->qid);
    get_U64(&r, &ret->offset);
    get_U8(&r, &ret->type);
    get_STR(&r, &ret->name);
    if (with_attr)
        get_ATTR(&r, &ret->attr);
    if (r.bad)
        return -EPROTO;
    return (int)(r.p - (const uint8_t *)buf);
}

int p9_encode_scan_block(void *buf, size_t cap, const struct p9_scan_block *b)
{
    struct writer w = {.base = buf, .cap = cap};
    put_U32(&w, &b->block);
    put_U32(&w, &b->entry);
    put_U32(&w, &b->len);
    return w.full ? -EMSGSIZE : (int)w.len;
}

int p9_decode_scan_block(const void *buf, size_t len, struct p9_scan_block *ret)
{
    if (len == 0)
        return 0;
    struct reader r = {.p = buf, .end = (const uint8_t *)buf + len};
    get_U32(&r, &ret->block);
    get_U32(&r, &ret->entry);
    get_U32(&r, &ret->len);
    if (r.bad || ret->len > (size_t)(r.end - r.p))
        return -EPROTO;
    return (int)P9_SCAN_BLOCK_BYTES;
}
