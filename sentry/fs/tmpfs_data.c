/* SPDX-License-Identifier: Apache-2.0
 * tmpfs_data.c - contents of in-memory files, in the memory file.
 *
 * A file is cut at fixed places into chunks: 4, 12, 48, 192, 768 KiB, 1 MiB, then 2 MiB each. A
 * chunk is one contiguous range of the memory file, congruent to its place in the file modulo 2 MiB
 * (so it can be mapped with huge pages), reserved when the first page in it is. Its bitmap says
 * which pages hold data; only those are charged to the superblock's limit and cost memory, the
 * others are holes and read as zero.
 *
 * Reads and writes copy between the memory file and the caller. Guests map the same pages, so they
 * may change under a copy; that is theirs to see.
 *
 * Locks: inode->lock for contents and size; ti->lock (spin) for chunks and bitmaps, which page()
 * takes from inside a fault. Truncation: size, then mappable_truncated(), then the pages. */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tmpfs.h"

#define BIG_SHIFT 21
#define BIG_SIZE (1ULL << BIG_SHIFT)
#define SMALL_CHUNKS 6u
#define SEAL_WRITES (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)

static const uint64_t small_start[SMALL_CHUNKS + 1] = {0,         4 << 10, 16 << 10, 64 << 10,
                                                       256 << 10, 1 << 20, 2 << 20};

static uint64_t chunk_index(uint64_t off)
{
    if (off >= BIG_SIZE)
        return SMALL_CHUNKS - 1 + (off >> BIG_SHIFT);
    unsigned i = 0;
    while (off >= small_start[i + 1])
        i++;
    return i;
}

static uint64_t chunk_start(uint64_t index)
{
    return index < SMALL_CHUNKS ? small_start[index] : (index - SMALL_CHUNKS + 1) << BIG_SHIFT;
}

static uint64_t chunk_size(uint64_t index)
{
    return index < SMALL_CHUNKS ? small_start[index + 1] - small_start[index] : BIG_SIZE;
}

/* Position of the first chunk with index >= @index. Files without large holes hit at once. */
static size_t chunk_position(const struct tmpfs_inode *ti, uint64_t index)
{
    if (index < ti->chunk_count && ti->chunks[index]->index == index)
        return (size_t)index;
    size_t lo = 0, hi = ti->chunk_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (ti->chunks[mid]->index < index)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct tmpfs_chunk *chunk_find(const struct tmpfs_inode *ti, uint64_t index)
{
    size_t p = chunk_position(ti, index);
    return p < ti->chunk_count && ti->chunks[p]->index == index ? ti->chunks[p] : NULL;
}

static struct tmpfs_chunk *chunk_make(struct tmpfs_inode *ti, uint64_t index)
{
    if (ti->chunk_count == ti->chunk_capacity) {
        size_t n = ti->chunk_capacity ? ti->chunk_capacity * 2 : 4;
        struct tmpfs_chunk **a = realloc(ti->chunks, n * sizeof(struct tmpfs_chunk *));
        if (!a)
            return NULL;
        ti->chunks = a;
        ti->chunk_capacity = n;
    }
    uint64_t pages = chunk_size(index) / PAGE_SIZE;
    struct tmpfs_chunk *c = calloc(1, sizeof(*c) + (pages + 63) / 64 * sizeof(uint64_t));
    if (!c)
        return NULL;
    c->index = index;
    if (memfile_alloc(g_fs_memfile, chunk_size(index), chunk_start(index), &c->off) < 0) {
        free(c);
        return NULL;
    }
    size_t p = chunk_position(ti, index);
    memmove(ti->chunks + p + 1, ti->chunks + p,
            (ti->chunk_count - p) * sizeof(struct tmpfs_chunk *));
    ti->chunks[p] = c;
    ti->chunk_count++;
    return c;
}

static bool page_used(const struct tmpfs_chunk *c, uint64_t page)
{
    return c->used[page / 64] >> (page % 64) & 1;
}

static void charge(struct inode *i, int64_t pages)
{
    tmpfs_s(i->sb)->used_pages += (uint64_t)pages;
    spin_lock(&i->attr_lock);
    i->attr.blocks += (uint64_t)pages * 8;
    spin_unlock(&i->attr_lock);
}

/* Bytes [off, off+n) of the file, n cut to the end of the chunk: pages made to hold data. ti->lock
 * held. *ret_fresh: some are new. */
static int data_ensure(struct inode *i, uint64_t off, uint64_t *n, uint64_t *ret_mem,
                       bool *ret_fresh)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    struct tmpfs_sb *s = tmpfs_s(i->sb);
    uint64_t index = chunk_index(off), start = chunk_start(index);
    struct tmpfs_chunk *c = chunk_find(ti, index);
    if (!c && !(c = chunk_make(ti, index)))
        return -ENOSPC;
    *n = MIN(*n, start + chunk_size(index) - off);
    uint64_t first = (off - start) / PAGE_SIZE,
             end = (off - start + *n + PAGE_SIZE - 1) / PAGE_SIZE;
    uint64_t fresh = 0, p = first;
    for (; p < end; p++) {
        if (page_used(c, p))
            continue;
        if (s->limit_pages && s->used_pages + fresh >= s->limit_pages)
            break;
        c->used[p / 64] |= 1ULL << (p % 64);
        fresh++;
    }
    if (fresh)
        charge(i, (int64_t)fresh);
    if (p == first)
        return -ENOSPC;
    *n = MIN(*n, start + p * PAGE_SIZE - off);
    *ret_mem = c->off + (off - start);
    *ret_fresh = fresh != 0;
    return 0;
}

/* The run of equal kind (data or hole) at @off: its length, at most n. true: data at *ret_mem. */
static bool data_run(struct tmpfs_inode *ti, uint64_t off, uint64_t *n, uint64_t *ret_mem)
{
    uint64_t index = chunk_index(off), start = chunk_start(index);
    spin_lock(&ti->lock);
    size_t pos = chunk_position(ti, index);
    struct tmpfs_chunk *c = pos < ti->chunk_count ? ti->chunks[pos] : NULL;
    bool data = false;
    if (!c) {
        ; /* nothing behind: a hole to the end */
    } else if (c->index != index) {
        *n = MIN(*n, chunk_start(c->index) - off);
    } else {
        uint64_t p = (off - start) / PAGE_SIZE, end = chunk_size(index) / PAGE_SIZE;
        data = page_used(c, p);
        while (p < end && page_used(c, p) == data && start + p * PAGE_SIZE < off + *n)
            p++;
        *n = MIN(*n, start + p * PAGE_SIZE - off);
        *ret_mem = c->off + (off - start);
    }
    spin_unlock(&ti->lock);
    return data;
}

#define ATIME_AGE (24 * 3600) /* relatime: at least once a day */

static bool later(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

/* relatime: only when it tells something new. */
static void atime_update(struct inode *i)
{
    struct attr a;
    inode_attr(i, &a);
    if (later(a.atime, a.mtime) && later(a.atime, a.ctime) &&
        clock_now_ns(CLOCK_REALTIME) / 1000000000 - a.atime.tv_sec < ATIME_AGE)
        return;
    inode_touch(i, TOUCH_ATIME);
}

static ssize_t tmpfs_read(struct file *f, struct uio *u, int64_t *pos, unsigned flags)
{
    (void)flags;
    struct inode *i = f->inode;
    struct tmpfs_inode *ti = tmpfs_i(i);
    ssize_t done = 0, r = 0;
    fmutex_lock(&i->lock);
    if (*pos >= 0 && (uint64_t)*pos < i->attr.size)
        uio_expect(u, (size_t)MIN((uint64_t)u->left, i->attr.size - (uint64_t)*pos));
    while (u->left) {
        uint64_t size = i->attr.size, off = (uint64_t)*pos, mem = 0;
        if (*pos < 0 || off >= size)
            break;
        uint64_t n = MIN((uint64_t)u->left, size - off);
        if (data_run(ti, off, &n, &mem))
            r = uio_copy_to_user(u, memfile_ptr(g_fs_memfile, mem), n);
        else
            r = uio_zero_user(u, n);
        if (r <= 0)
            break;
        done += r;
        *pos += r;
        if ((uint64_t)r < n)
            break;
    }
    fmutex_unlock(&i->lock);
    if (done && !(f->flags & O_NOATIME))
        atime_update(i);
    return done ? done : r;
}

/* What lies behind the old end of the last page must read as zero once the file grows over it. */
static void zero_tail(struct inode *i, uint64_t size)
{
    uint64_t mem = 0, n = align_up(size, PAGE_SIZE) - size;
    if (n && data_run(tmpfs_i(i), size, &n, &mem))
        memset(memfile_ptr(g_fs_memfile, mem), 0, n);
}

static void set_size(struct inode *i, uint64_t size)
{
    spin_lock(&i->attr_lock);
    i->attr.size = size;
    spin_unlock(&i->attr_lock);
}

/* One piece of a write. i->lock held. */
static ssize_t write_piece(struct inode *i, struct uio *u, uint64_t off)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    uint64_t n = u->left, mem = 0;
    bool fresh = false;
    spin_lock(&ti->lock);
    int r = data_ensure(i, off, &n, &mem, &fresh);
    spin_unlock(&ti->lock);
    if (r < 0)
        return r;
    if (fresh) {
        uint64_t from = align_down(mem, PAGE_SIZE), to = align_up(mem + n, PAGE_SIZE);
        if (memfile_populate(g_fs_memfile, from, to - from) < 0)
            return -ENOSPC;
    }
    ssize_t w = uio_copy_from_user(u, memfile_ptr(g_fs_memfile, mem), n);
    if (w > 0 && off + (uint64_t)w > i->attr.size)
        set_size(i, off + (uint64_t)w);
    return w;
}

static ssize_t tmpfs_write(struct file *f, struct uio *u, int64_t *pos, unsigned flags)
{
    (void)flags;
    struct inode *i = f->inode;
    ssize_t done = 0, r = 0;
    if (!u->left)
        return 0;
    fmutex_lock(&i->lock);
    if (f->flags & O_APPEND)
        *pos = (int64_t)i->attr.size;
    int64_t end;
    if (*pos < 0 || add_overflow(*pos, (int64_t)u->left, &end))
        r = *pos < 0 ? -EINVAL : -EFBIG;
    else if ((tmpfs_i(i)->seals & SEAL_WRITES) ||
             ((tmpfs_i(i)->seals & F_SEAL_GROW) && (uint64_t)end > i->attr.size))
        r = -EPERM;
    if (r == 0 && (uint64_t)*pos > i->attr.size)
        zero_tail(i, i->attr.size);
    while (r >= 0 && u->left) {
        r = write_piece(i, u, (uint64_t)*pos);
        if (r <= 0)
            break;
        done += r;
        *pos += r;
    }
    if (done)
        inode_touch(i, TOUCH_MTIME | TOUCH_CTIME);
    fmutex_unlock(&i->lock);
    return done ? done : r;
}

/* Pages from byte @from to @to (page multiples) become holes; whole chunks are given back. */
static void data_punch(struct inode *i, uint64_t from, uint64_t to)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    for (uint64_t off = from; off < to;) {
        spin_lock(&ti->lock);
        size_t pos = chunk_position(ti, chunk_index(off));
        struct tmpfs_chunk *c = pos < ti->chunk_count ? ti->chunks[pos] : NULL;
        uint64_t start = c ? chunk_start(c->index) : 0;
        if (!c || start >= to) {
            spin_unlock(&ti->lock);
            return;
        }
        uint64_t size = chunk_size(c->index), a = MAX(off, start), b = MIN(to, start + size);
        int64_t freed = 0;
        for (uint64_t p = (a - start) / PAGE_SIZE; p < (b - start) / PAGE_SIZE; p++) {
            freed += page_used(c, p);
            c->used[p / 64] &= ~(1ULL << (p % 64));
        }
        bool whole = a == start && b == start + size;
        if (whole) {
            ti->chunk_count--;
            memmove(ti->chunks + pos, ti->chunks + pos + 1,
                    (ti->chunk_count - pos) * sizeof(struct tmpfs_chunk *));
        }
        charge(i, -freed);
        spin_unlock(&ti->lock);
        if (whole) {
            memfile_free(g_fs_memfile, c->off, size);
            free(c);
        } else if (freed) {
            memfile_decommit(g_fs_memfile, c->off + (a - start), b - a);
        }
        off = b;
    }
}

int tmpfs_data_resize(struct inode *i, uint64_t size)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    uint64_t old = i->attr.size;
    if (size > TMPFS_FILE_MAX)
        return -EFBIG;
    if ((size < old && (ti->seals & F_SEAL_SHRINK)) || (size > old && (ti->seals & F_SEAL_GROW)))
        return -EPERM;
    if (size >= old) {
        zero_tail(i, old);
        set_size(i, size);
        return 0;
    }
    set_size(i, size);
    mappable_truncated(&ti->map, size);
    data_punch(i, align_up(size, PAGE_SIZE), 1ULL << 63);
    zero_tail(i, size);
    return 0;
}

void tmpfs_data_free(struct tmpfs_inode *ti)
{
    for (size_t k = 0; k < ti->chunk_count; k++) {
        struct tmpfs_chunk *c = ti->chunks[k];
        memfile_free(g_fs_memfile, c->off, chunk_size(c->index));
        free(c);
    }
    free(ti->chunks);
    tmpfs_s(ti->vfs->sb)->used_pages -= ti->vfs->attr.blocks / 8;
    mappable_fini(&ti->map);
    free(ti->map_path);
}

static int64_t tmpfs_seek(struct file *f, int64_t off, int whence)
{
    struct inode *i = f->inode;
    struct attr a;
    inode_attr(i, &a);
    if ((whence != SEEK_DATA && whence != SEEK_HOLE) || off < 0 || (uint64_t)off >= a.size)
        return file_seek_size(f, off, whence, a.size);
    uint64_t at = (uint64_t)off, mem;
    while (at < a.size) {
        uint64_t n = a.size - at;
        if (data_run(tmpfs_i(i), at, &n, &mem) == (whence == SEEK_DATA))
            break;
        at += n;
    }
    if (whence == SEEK_DATA && at >= a.size)
        return -ENXIO;
    return f->pos = (int64_t)MIN(at, a.size);
}

static int fallocate_pages(struct inode *i, uint64_t off, uint64_t len)
{
    struct tmpfs_inode *ti = tmpfs_i(i);
    while (len) {
        uint64_t n = len, mem;
        bool fresh;
        spin_lock(&ti->lock);
        int r = data_ensure(i, off, &n, &mem, &fresh);
        spin_unlock(&ti->lock);
        if (r == 0 && fresh) {
            uint64_t from = align_down(mem, PAGE_SIZE), to = align_up(mem + n, PAGE_SIZE);
            r = memfile_populate(g_fs_memfile, from, to - from) < 0 ? -ENOSPC : 0;
        }
        if (r < 0)
            return r;
        off += n;
        len -= n;
    }
    return 0;
}

/* Zero [off, end): whole pages become holes. */
static void zero_range(struct inode *i, uint64_t off, uint64_t end)
{
    uint64_t a = align_up(off, PAGE_SIZE), b = align_down(end, PAGE_SIZE);
    uint64_t edges[2][2] = {{off, MIN(a, end)}, {MAX(b, MIN(a, end)), end}};
    for (unsigned k = 0; k < 2; k++)
        for (uint64_t at = edges[k][0]; at < edges[k][1];) {
            uint64_t n = edges[k][1] - at, mem;
            if (data_run(tmpfs_i(i), at, &n, &mem))
                memset(memfile_ptr(g_fs_memfile, mem), 0, n);
            at += n;
        }
    if (a >= b)
        return;
    /* mapped pages are cleared in place: taking them away from mappings is for truncation only */
    for (uint64_t at = a; at < b;) {
        uint64_t n = b - at, mem;
        if (data_run(tmpfs_i(i), at, &n, &mem))
            memfile_decommit(g_fs_memfile, mem, n);
        at += n;
    }
}

static int tmpfs_fallocate(struct file *f, int mode, int64_t off, int64_t len)
{
    struct inode *i = f->inode;
    int64_t end;
    if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
        return -EOPNOTSUPP;
    if (off < 0 || len <= 0)
        return -EINVAL;
    if (add_overflow(off, len, &end))
        return -EFBIG;
    bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0, zero = (mode & FALLOC_FL_ZERO_RANGE) != 0;
    if ((punch && !(mode & FALLOC_FL_KEEP_SIZE)) || (punch && zero))
        return -EOPNOTSUPP;
    fmutex_lock(&i->lock);
    int r = 0;
    uint64_t size = i->attr.size;
    bool grow = !(mode & FALLOC_FL_KEEP_SIZE) && (uint64_t)end > size;
    if (((punch || zero) && (tmpfs_i(i)->seals & SEAL_WRITES)) ||
        (grow && (tmpfs_i(i)->seals & F_SEAL_GROW)))
        r = -EPERM;
    if (r == 0 && (punch || zero))
        zero_range(i, (uint64_t)off, (uint64_t)end);
    if (r == 0 && !punch)
        r = fallocate_pages(i, (uint64_t)off, (uint64_t)len);
    if (r == 0 && grow) {
        zero_tail(i, size);
        set_size(i, (uint64_t)end);
    }
    if (r == 0)
        inode_touch(i, TOUCH_MTIME | TOUCH_CTIME);
    fmutex_unlock(&i->lock);
    return r;
}

/* --- mapping --- */

static struct inode *map_inode(struct mappable *m)
{
    return container_of(m, struct tmpfs_inode, map)->vfs;
}

static void map_get(struct mappable *m)
{
    inode_get(map_inode(m));
}

static void map_put(struct mappable *m)
{
    inode_put(map_inode(m));
}

static int map_host_fd(struct mappable *m, bool write)
{
    (void)m;
    (void)write;
    return -1;
}

static int64_t map_size(struct mappable *m)
{
    struct attr a;
    inode_attr(map_inode(m), &a);
    return (int64_t)a.size;
}

static int map_page(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                    uint64_t *ret_count)
{
    struct inode *i = map_inode(m);
    struct tmpfs_inode *ti = tmpfs_i(i);
    if (write)
        ti->map_written = true;
    uint64_t size = (uint64_t)map_size(m), pages = align_up(size, PAGE_SIZE) / PAGE_SIZE;
    if (index >= pages)
        return -ENXIO;
    uint64_t want = MIN(MAX(*ret_count, 1ULL), pages - index);
    uint64_t n = want * PAGE_SIZE, mem;
    bool fresh;
    spin_lock(&ti->lock);
    int r = data_ensure(i, index * PAGE_SIZE, &n, &mem, &fresh);
    spin_unlock(&ti->lock);
    if (r < 0)
        return -ENOMEM;
    *ret_off = mem;
    *ret_count = n / PAGE_SIZE;
    return 0;
}

static void map_describe(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                         uint64_t *ret_ino)
{
    struct inode *i = map_inode(m);
    spin_lock(&tmpfs_i(i)->lock);
    const char *path = tmpfs_i(i)->map_path;
    spin_unlock(&tmpfs_i(i)->lock);
    snprintf(buf, len, "%s", path ? path : "");
    *ret_dev = path ? tmpfs_i(i)->map_dev : i->sb->dev;
    *ret_ino = path ? tmpfs_i(i)->map_ino : i->attr.ino;
}

static int map_identity(struct mappable *m, struct mappable_id *ret)
{
    struct inode *i = map_inode(m);
    struct attr a;
    if (tmpfs_i(i)->map_written)
        return -ENODEV;
    inode_attr(i, &a);
    *ret = (struct mappable_id){
        .dev = a.dev,
        .ino = a.ino,
        .size = a.size,
        .mtime_ns = a.mtime.tv_sec * 1000000000LL + a.mtime.tv_nsec,
        .ctime_ns = a.ctime.tv_sec * 1000000000LL + a.ctime.tv_nsec,
    };
    return 0;
}

static const struct mappable_ops map_ops = {
    .get = map_get,
    .put = map_put,
    .host_fd = map_host_fd,
    .page = map_page,
    .size = map_size,
    .describe = map_describe,
    .identity = map_identity,
};

void tmpfs_data_init(struct tmpfs_inode *ti)
{
    spin_init(&ti->lock, RANK_OBJECT);
    mappable_init(&ti->map, &map_ops);
}

struct mappable *tmpfs_mappable(struct inode *i)
{
    return &tmpfs_i(i)->map;
}

/* What /proc/PID/maps shows: the place and numbers under which it was first mapped, which are the
 * overlay's when this is the upper of one. */
static void map_remember(struct file *f, struct tmpfs_inode *ti)
{
    char *buf = malloc(PATH_LEN_MAX);
    ssize_t n = buf ? path_format(task_current(), &f->path, buf, PATH_LEN_MAX, true) : -1;
    char *path = n > 0 ? strndup(buf, (size_t)n) : NULL;
    free(buf);
    struct attr a;
    inode_attr(file_inode(f), &a);
    spin_lock(&ti->lock);
    if (path && !ti->map_path) {
        ti->map_dev = a.dev;
        ti->map_ino = a.ino;
        ti->map_path = steal(path);
    }
    spin_unlock(&ti->lock);
    free(path);
}

static struct mappable *tmpfs_file_mappable(struct file *f)
{
    struct tmpfs_inode *ti = tmpfs_i(f->inode);
    spin_lock(&ti->lock);
    bool known = ti->map_path != NULL; /* set once, kept until the inode goes */
    spin_unlock(&ti->lock);
    if (!known && f->path.dentry && task_current())
        map_remember(f, ti);
    return &ti->map;
}

const struct file_ops tmpfs_file_ops = {
    .name = "tmpfs",
    .read = tmpfs_read,
    .write = tmpfs_write,
    .seek = tmpfs_seek,
    .fallocate = tmpfs_fallocate,
    .mappable = tmpfs_file_mappable,
};
