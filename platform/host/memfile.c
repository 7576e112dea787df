/* SPDX-License-Identifier: Apache-2.0
 * memfile.c - the memory file and the allocator of its address range.
 *
 * The file is as long as the address range it is mapped over (1 TiB, less where the host does not
 * give that much) and almost entirely hole. Three ways to get it, best first: a detached tmpfs mount (nothing ever appears in a
 * directory tree), a tmpfs mounted for a moment on a temporary directory, a memfd. Only a mount of
 * our own has `size=` (the hard limit) and `huge=advise`; with a memfd the limit is what
 * memfile_limit() reports and the host's memory is the end.
 *
 * Which file ranges are free is kept by range.c. Offset 0 is never handed out, so that a zero
 * offset in a structure is visibly wrong.
 *
 * Who may lie: nobody; callers are the Sentry. A guest that touches more than the limit gets
 * SIGBUS from the host.
 * Locks: mf->lock (RANK_MEMFILE) guards the ranges; host calls are made outside it: a range is
 * punched before it is put back.
 *
 * Host: fallocate, madvise, fstat, pwritev2 [sentry]
 * Host: ftruncate, memfd_create, mount, openat, sysinfo, umount2 [before confinement]
 * Host: mmap, munmap, close [sentry]
 */
#include <host/memfile.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <unistd.h>

#include <base/checked.h>
#include <base/lock.h>
#include <base/log.h>

#include "range.h"

#if defined(__SANITIZE_THREAD__)
#define MEMFILE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MEMFILE_TSAN 1
#endif
#endif

/* TSan has room for one mapping of less than 1 TiB; 256 GiB is plenty for tests. */
#ifdef MEMFILE_TSAN
#define MEMFILE_SPAN (256ULL << 30)
#else
#define MEMFILE_SPAN (1ULL << 40)
#endif
#define MEMFILE_SPAN_LEAST (4ULL << 30) /* under a tight RLIMIT_AS */
#define MEMFILE_FIRST RANGE_CONGRUENCE

struct memfile {
    int fd;
    char *map;     /* immutable after memfile_create */
    uint64_t span; /* bytes of file and mapping; immutable, as limit and hard_limit */
    uint64_t limit;
    bool hard_limit;
    struct spin lock;
    struct range_set free; /* GUARDED_BY(lock) */
};

static int tmpfs_open_tmpfile(int dirfd, const char *path)
{
    int fd = openat(dirfd, path, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    return fd < 0 ? -errno : fd;
}

/* A mount that is attached nowhere: lives as long as the file opened on it. */
static int memfile_open_detached(const char *size, bool huge)
{
    autoclose int ctx = fsopen("tmpfs", FSOPEN_CLOEXEC);
    if (ctx < 0)
        return -errno;
    if (fsconfig(ctx, FSCONFIG_SET_STRING, "size", size, 0) ||
        (huge && fsconfig(ctx, FSCONFIG_SET_STRING, "huge", "advise", 0)) ||
        fsconfig(ctx, FSCONFIG_SET_STRING, "mode", "0700", 0) ||
        fsconfig(ctx, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
        return -errno;
    autoclose int mnt = fsmount(ctx, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mnt < 0)
        return -errno;
    return tmpfs_open_tmpfile(mnt, ".");
}

/* Older kernels: attached for the time of one open. */
static int memfile_open_mounted(const char *size, bool huge)
{
    char dir[] = "/tmp/ringbox-memory-XXXXXX";
    if (!mkdtemp(dir))
        return -errno;
    char options[96];
    snprintf(options, sizeof options, "size=%s,mode=0700%s", size, huge ? ",huge=advise" : "");
    int fd;
    if (mount("ringbox", dir, "tmpfs", MS_NOSUID | MS_NODEV, options)) {
        fd = -errno;
    } else {
        fd = tmpfs_open_tmpfile(AT_FDCWD, dir);
        umount2(dir, MNT_DETACH);
    }
    rmdir(dir);
    return fd;
}

static int memfile_open(uint64_t limit, bool *ret_hard)
{
    char size[32];
    snprintf(size, sizeof size, "%llu", (unsigned long long)limit);
    for (int huge = 1; huge >= 0; huge--) {
        int fd = memfile_open_detached(size, huge);
        if (fd < 0)
            fd = memfile_open_mounted(size, huge);
        if (fd >= 0 || fd == -EMFILE || fd == -ENFILE) {
            *ret_hard = true;
            return fd;
        }
    }
    int fd = memfd_create("ringbox-memory", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    *ret_hard = false;
    return fd;
}

static uint64_t memfile_default_limit(void)
{
    struct sysinfo si;
    if (sysinfo(&si))
        return 1ULL << 30;
    return align_down((uint64_t)si.totalram * si.mem_unit / 4 * 3, PAGE_SIZE);
}

static int memfile_map(struct memfile *mf)
{
    for (uint64_t span = MEMFILE_SPAN; span >= MEMFILE_SPAN_LEAST; span /= 4) {
        if (ftruncate(mf->fd, (off_t)span))
            continue;
        mf->map = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, mf->fd, 0);
        if (mf->map == MAP_FAILED)
            continue;
        mf->span = span;
        madvise(mf->map, span, MADV_DONTDUMP);
        return 0;
    }
    return -ENOMEM;
}

int memfile_create(uint64_t limit_bytes, struct memfile **ret)
{
    struct memfile *mf = calloc(1, sizeof *mf);
    if (!mf)
        return -ENOMEM;
    mf->fd = -1;
    mf->map = MAP_FAILED;
    mf->limit = limit_bytes ? MIN(limit_bytes, MEMFILE_SPAN) : memfile_default_limit();
    mf->limit = align_up(mf->limit, PAGE_SIZE);
    spin_init(&mf->lock, RANK_MEMFILE);
    range_set_init(&mf->free);

    int err = memfile_open(mf->limit, &mf->hard_limit);
    if (err < 0)
        goto fail;
    mf->fd = err;
    err = -ENOMEM;
    if (memfile_map(mf) || range_insert(&mf->free, MEMFILE_FIRST, mf->span - MEMFILE_FIRST))
        goto fail;
    log_debug("memfile", "limit=%llu hard=%d", (unsigned long long)mf->limit, mf->hard_limit);
    *ret = mf;
    return 0;
fail:
    memfile_destroy(mf);
    return err == -EMFILE || err == -ENFILE ? -EMFILE : -ENOMEM;
}

void memfile_destroy(struct memfile *mf)
{
    if (!mf)
        return;
    if (mf->map != MAP_FAILED)
        munmap(mf->map, mf->span);
    if (mf->fd >= 0)
        close(mf->fd);
    range_set_free(&mf->free);
    free(mf);
}

int memfile_fd(const struct memfile *mf)
{
    return mf->fd;
}

static void memfile_check_range(const struct memfile *mf, uint64_t off, uint64_t len)
{
    BUG_ON((off | len) & (PAGE_SIZE - 1));
    BUG_ON(off < MEMFILE_FIRST || off > mf->span || len > mf->span - off);
}

int memfile_alloc(struct memfile *mf, uint64_t len, uint64_t congruent_to, uint64_t *ret_off)
{
    BUG_ON(!len || len & (PAGE_SIZE - 1));
    BUG_ON(congruent_to != MEMFILE_ANY && congruent_to & (PAGE_SIZE - 1));
    if (len > mf->span)
        return -ENOMEM;
    uint64_t phase = congruent_to == MEMFILE_ANY ? RANGE_ANY : congruent_to % RANGE_CONGRUENCE;
    spin_lock(&mf->lock);
    int err = range_take(&mf->free, len, phase, ret_off);
    spin_unlock(&mf->lock);
    return err;
}

void memfile_decommit(struct memfile *mf, uint64_t off, uint64_t len)
{
    memfile_check_range(mf, off, len);
    if (!len)
        return;
    int err;
    do
        err = fallocate(mf->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len)
                  ? errno
                  : 0;
    while (err == EINTR || err == EAGAIN);
    /* A page that stays would show one guest's bytes to another. */
    BUG_ON(err);
}

void memfile_free(struct memfile *mf, uint64_t off, uint64_t len)
{
    if (!len)
        return;
    memfile_decommit(mf, off, len);
    spin_lock(&mf->lock);
    int err = range_insert(&mf->free, off, len);
    spin_unlock(&mf->lock);
    /* No memory for a tree node: the pages are gone, only address range is lost. */
    if (err)
        log_warn("memfile", "lost range off=%#llx len=%#llx", (unsigned long long)off,
                 (unsigned long long)len);
}

int memfile_populate(struct memfile *mf, uint64_t off, uint64_t len)
{
    memfile_check_range(mf, off, len);
    while (len && madvise(mf->map + off, len, MADV_POPULATE_WRITE)) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        if (errno != EINVAL)
            return -ENOMEM; /* EFAULT: a fault would have been SIGBUS, the limit is reached */
        /* Before Linux 5.14: at least the pages exist, faults are then cheap and cannot fail. */
        return fallocate(mf->fd, FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ? -ENOMEM : 0;
    }
    return 0;
}

void memfile_want_huge(struct memfile *mf, uint64_t off, uint64_t len)
{
    memfile_check_range(mf, off, len);
    madvise(mf->map + off, len, MADV_HUGEPAGE);
}

/* The advice of a mapping cannot be taken back, only the mapping replaced: the page stays. */
int memfile_populate_huge(struct memfile *mf, uint64_t off)
{
    memfile_check_range(mf, off, RANGE_CONGRUENCE);
    if (madvise(mf->map + off, RANGE_CONGRUENCE, MADV_HUGEPAGE) == 0) {
        (void)madvise(mf->map + off, RANGE_CONGRUENCE, MADV_POPULATE_WRITE);
        BUG_ON(mmap(mf->map + off, RANGE_CONGRUENCE, PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_NORESERVE | MAP_FIXED, mf->fd, (off_t)off) != mf->map + off);
        (void)madvise(mf->map + off, RANGE_CONGRUENCE, MADV_DONTDUMP);
    }
    return memfile_populate(mf, off, RANGE_CONGRUENCE);
}

int memfile_write(struct memfile *mf, uint64_t off, const void *src, uint64_t len)
{
    const struct iovec iov = {(void *)(uintptr_t)src, len};
    memfile_check_range(mf, off, len);
    ssize_t n;
    do
        n = pwritev2(mf->fd, &iov, 1, (off_t)off, 0);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)len ? 0 : -ENOMEM; /* short: the limit; EFAULT: the source is beyond it */
}

void *memfile_ptr(const struct memfile *mf, uint64_t off)
{
    return mf->map + off;
}

uint64_t memfile_limit(const struct memfile *mf)
{
    return mf->limit;
}

bool memfile_limit_is_hard(const struct memfile *mf)
{
    return mf->hard_limit;
}

uint64_t memfile_used(const struct memfile *mf)
{
    struct stat st;
    if (fstat(mf->fd, &st))
        return 0;
    return (uint64_t)st.st_blocks * 512;
}
