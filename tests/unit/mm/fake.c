/* SPDX-License-Identifier: Apache-2.0 */
#include "fake.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <base/hash.h>
#include <host/io.h>

#define SLOTS 256

struct pf_as {
    uint8_t *base;
    uint8_t *mapped; /* one byte a page: unmapped memory is PROT_NONE here, not a hole */
    int slots[SLOTS];
};

struct fake_counts fake;
struct memfile *fake_mf;
unsigned long fake_fail_map;

static _Thread_local sigjmp_buf g_jump;
static _Thread_local volatile sig_atomic_t g_armed;
static struct sigaction g_old_bus;

static void on_fault(int signo, siginfo_t *info, void *ctx)
{
    if (g_armed) {
        g_armed = 0;
        siglongjmp(g_jump, signo);
    }
    if (signo == SIGBUS) {
        g_old_bus.sa_sigaction(signo, info, ctx);
        return;
    }
    fprintf(stderr, "SIGSEGV in the test at %p\n", info->si_addr);
    signal(signo, SIG_DFL);
}

static int fake_as_create(struct pf_as **ret)
{
    struct pf_as *as = calloc(1, sizeof *as);
    as->base = mmap(NULL, GUEST_MAX, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (as->base == MAP_FAILED) {
        free(as);
        return -ENOMEM;
    }
    as->mapped = mmap(NULL, GUEST_MAX >> 12, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (as->mapped == MAP_FAILED)
        abort();
    memset(as->slots, -1, sizeof as->slots);
    as->slots[0] = memfile_fd(fake_mf);
    fake.alive++;
    *ret = as;
    return 0;
}

static void fake_as_destroy(struct pf_as *as)
{
    munmap(as->base, GUEST_MAX);
    munmap(as->mapped, GUEST_MAX >> 12);
    for (int i = 1; i < SLOTS; i++)
        if (as->slots[i] >= 0)
            close(as->slots[i]);
    fake.alive--;
    free(as);
}

static int fake_op(struct pf_as *as, const struct pf_memop *o)
{
    uint8_t *p = as->base + o->addr;
    if (o->addr < GUEST_MIN || o->addr + o->len > GUEST_MAX || o->len == 0 ||
        ((o->addr | o->len) & ~PAGE_MASK)) {
        fprintf(stderr, "bad op %u addr %#lx len %#lx\n", o->op, o->addr, o->len);
        abort();
    }
    switch (o->op) {
    case PF_MAP:
        if (fake_fail_map && --fake_fail_map == 0)
            return -ENOMEM;
        fake.maps++;
        if (o->fd < 0 || as->slots[o->fd] < 0)
            abort();
        if (mmap(p, o->len, o->prot, MAP_SHARED | MAP_FIXED, as->slots[o->fd], (off_t)o->off) ==
            MAP_FAILED)
            return -errno;
        memset(as->mapped + (o->addr >> 12), 1, o->len >> 12);
        if (o->flags & PF_MAP_POPULATE)
            (void)madvise(p, o->len, o->prot & PROT_WRITE ? 23 : 22);
        return 0;
    case PF_UNMAP:
        fake.unmaps++;
        memset(as->mapped + (o->addr >> 12), 0, o->len >> 12);
        return mmap(p, o->len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
                    -1, 0) == MAP_FAILED
                   ? -errno
                   : 0;
    case PF_PROTECT:
        fake.protects++;
        if (memchr(as->mapped + (o->addr >> 12), 0, o->len >> 12))
            return -ENOMEM;
        return mprotect(p, o->len, o->prot) < 0 ? -errno : 0;
    case PF_POPULATE:
        (void)madvise(p, o->len, o->prot & PROT_WRITE ? 23 : 22);
        return 0;
    case PF_ADVISE:
        return madvise(p, o->len, (int)o->off) < 0 ? -errno : 0;
    default:
        return 0;
    }
}

static int fake_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    int r = 0;
    size_t i;
    fake.lists++;
    for (i = 0; i < n && r == 0; i++) {
        fake.ops++;
        r = fake_op(as, &ops[i]);
    }
    if (ret_done)
        *ret_done = r < 0 ? i - 1 : i;
    return r;
}

static int fake_fd_donate(struct pf_as *as, int fd, uint64_t key)
{
    (void)key;
    for (int i = 1; i < SLOTS; i++) {
        if (as->slots[i] < 0) {
            as->slots[i] = dup(fd);
            fake.donated++;
            return i;
        }
    }
    return -EMFILE;
}

static void fake_fd_drop(struct pf_as *as, int slot)
{
    close(as->slots[slot]);
    as->slots[slot] = -1;
}

static void fake_limits(struct pf_limits *ret)
{
    *ret = (struct pf_limits){.user_min = GUEST_MIN, .user_max = GUEST_MAX};
}

static const struct platform_ops fake_ops = {
    .name = "fake",
    .limits = fake_limits,
    .as_create = fake_as_create,
    .as_destroy = fake_as_destroy,
    .as_run = fake_as_run,
    .fd_donate = fake_fd_donate,
    .fd_drop = fake_fd_drop,
};

void fake_handlers(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
}

void fake_setup(uint64_t limit_bytes)
{
    if (memfile_create(limit_bytes, &fake_mf) < 0 || mm_init(&fake_ops, fake_mf) < 0)
        abort();
    sigaction(SIGBUS, NULL, &g_old_bus);
    fake_handlers();
}

/* One try; 0 or the signal. */
static int touch(volatile uint8_t *p, size_t n, void *buf, bool write)
{
    int signo = sigsetjmp(g_jump, 1);
    if (signo)
        return signo;
    g_armed = 1;
    if (write && n == 8)
        *(volatile uint64_t *)p = *(uint64_t *)buf;
    else if (write)
        *p = *(uint8_t *)buf;
    else if (n == 8)
        *(uint64_t *)buf = *(volatile uint64_t *)p;
    else
        *(uint8_t *)buf = *p;
    g_armed = 0;
    return 0;
}

static int guest_access(struct mm *mm, uint64_t addr, void *buf, size_t n, bool write)
{
    for (int i = 0; i < 20; i++) {
        struct pf_as *as = mm_as(mm);
        int signo = 0, code;
        if (touch(as->base + addr, n, buf, write) == 0)
            return 0;
        fake.faults++;
        int r = mm_fault(mm, addr, write ? PF_ACCESS_WRITE : PF_ACCESS_READ, 0, &signo, &code);
        if (r == -EFAULT)
            return signo;
        if (r < 0)
            return r;
    }
    fprintf(stderr, "address %#lx faults for ever\n", addr);
    abort();
}

int guest_read(struct mm *mm, uint64_t addr, uint8_t *ret)
{
    return guest_access(mm, addr, ret, 1, false);
}

int guest_write(struct mm *mm, uint64_t addr, uint8_t value)
{
    return guest_access(mm, addr, &value, 1, true);
}

int guest_peek(struct mm *mm, uint64_t addr, uint64_t *ret)
{
    return touch(mm_as(mm)->base + addr, 8, ret, false);
}

int guest_read64(struct mm *mm, uint64_t addr, uint64_t *ret)
{
    return guest_access(mm, addr, ret, 8, false);
}

int guest_write64(struct mm *mm, uint64_t addr, uint64_t value)
{
    return guest_access(mm, addr, &value, 8, true);
}

void guest_self(struct mm *mm, const struct mm_self *self)
{
    struct pf_as *as = mm_as(mm);
    struct pf_memop o = {.op = PF_UNMAP, .addr = self->addr, .len = self->len};
    if (!self->op)
        return;
    if (self->op == PF_SELF_PROTECT_NONE || self->op == PF_SELF_PROTECT_READ)
        o.op = PF_PROTECT;
    if (self->op == PF_SELF_PROTECT_READ)
        o.prot = PROT_READ;
    (void)fake_op(as, &o); /* mprotect over a hole fails */
}

/* --- files --- */

static struct fake_file *file_of(struct mappable *m)
{
    return container_of(m, struct fake_file, m);
}

static void file_get(struct mappable *m)
{
    file_of(m)->refs++;
}

static void file_put(struct mappable *m)
{
    fake_file_put(file_of(m));
}

static int file_host_fd(struct mappable *m, bool write)
{
    struct fake_file *f = file_of(m);
    return f->by_page || (write && f->read_only) ? -1 : f->fd;
}

static int file_page(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                     uint64_t *ret_count)
{
    struct fake_file *f = file_of(m);
    uint64_t pages = (f->size + PAGE_SIZE - 1) / PAGE_SIZE;
    (void)write;
    if (index >= pages)
        return -ENXIO;
    *ret_off = f->off + index * PAGE_SIZE;
    *ret_count = MIN(*ret_count, pages - index);
    return 0;
}

static int64_t file_size(struct mappable *m)
{
    return (int64_t)file_of(m)->size;
}

static void file_describe(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                          uint64_t *ret_ino)
{
    snprintf(buf, len, "/fake/%s", file_of(m)->by_page ? "page" : "fd");
    *ret_dev = 7;
    *ret_ino = 42;
}

static int file_identity(struct mappable *m, struct mappable_id *ret)
{
    struct fake_file *f = file_of(m);
    *ret = (struct mappable_id){
        .dev = 7, .ino = f->ino, .size = f->size, .mtime_ns = f->version, .ctime_ns = f->version};
    return 0;
}

static const struct mappable_ops file_ops = {
    .get = file_get,
    .put = file_put,
    .host_fd = file_host_fd,
    .page = file_page,
    .size = file_size,
    .describe = file_describe,
    .identity = file_identity,
};

struct fake_file *fake_file_new(uint64_t pages, bool by_page)
{
    static uint64_t inos;
    struct fake_file *f = calloc(1, sizeof *f);
    uint8_t page[PAGE_SIZE];
    mappable_init(&f->m, &file_ops);
    f->refs = 1;
    f->by_page = by_page;
    f->ino = ++inos;
    f->size = f->capacity = pages * PAGE_SIZE;
    f->fd = memfd_create("fake", 0);
    if (by_page && memfile_alloc(fake_mf, f->capacity, MEMFILE_ANY, &f->off) < 0)
        abort();
    for (uint64_t i = 0; i < pages; i++) {
        memset(page, (int)i + 1, sizeof page);
        if (by_page)
            memcpy((uint8_t *)memfile_ptr(fake_mf, f->off) + i * PAGE_SIZE, page, sizeof page);
        else if (pwrite(f->fd, page, sizeof page, (off_t)(i * PAGE_SIZE)) != sizeof page)
            abort();
    }
    return f;
}

void fake_file_write(struct fake_file *f, uint64_t off, const void *bytes, uint64_t len)
{
    f->version++;
    if (f->by_page)
        memcpy((uint8_t *)memfile_ptr(fake_mf, f->off) + off, bytes, len);
    else if (pwrite(f->fd, bytes, len, (off_t)off) != (ssize_t)len)
        abort();
}

void fake_file_truncate(struct fake_file *f, uint64_t size)
{
    f->size = size;
    if (!f->by_page && ftruncate(f->fd, (off_t)size) < 0)
        abort();
    mappable_truncated(&f->m, size);
}

void fake_file_put(struct fake_file *f)
{
    if (--f->refs)
        return;
    mappable_fini(&f->m);
    if (f->by_page)
        memfile_free(fake_mf, f->off, f->capacity);
    close(f->fd);
    free(f);
}

int64_t map_anon(struct mm *mm, uint64_t addr, uint64_t len, uint32_t prot, uint32_t flags)
{
    const struct mm_map_args a = {
        .addr = addr, .len = len, .prot = prot, .flags = flags | MAP_ANONYMOUS};
    return mm_mmap(mm, &a);
}

int64_t map_file(struct mm *mm, struct fake_file *f, uint64_t addr, uint64_t len, uint32_t prot,
                 uint32_t flags, uint64_t off)
{
    const struct mm_map_args a = {.addr = addr,
                                  .len = len,
                                  .prot = prot,
                                  .flags = flags,
                                  .file = &f->m,
                                  .offset = off,
                                  .file_writable = !f->read_only};
    return mm_mmap(mm, &a);
}

/* host/io.h: the calls mm makes, waiting. */
ssize_t io_preadv(int fd, const struct iovec *iov, int n, int64_t off)
{
    ssize_t r = preadv(fd, iov, n, off);
    return r < 0 ? -errno : r;
}

int io_fsync(int fd, bool data_only)
{
    (void)data_only;
    return fsync(fd) < 0 ? -errno : 0;
}
