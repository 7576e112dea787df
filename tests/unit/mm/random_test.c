/* SPDX-License-Identifier: Apache-2.0
 * random_test.c - random calls, forks and accesses against a model of what Linux would do.
 *
 * A few processes, a region of 192 pages, one 64-bit word a page. The model knows for each page of
 * each process whether it is mapped, its rights, and where its word lives: in a private cell, or in a
 * cell shared by all who map the same object. Accesses go through the guest's mapping (real faults)
 * and through uaccess; both must agree with the model. Self-unmaps are executed at once, late, or
 * never. MM_TEST_SEED and MM_TEST_OPS choose another run. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include <sys/mman.h>

#include <base/err.h>

#include "fake.h"

#define BASE 0x40000000ULL
#define PAGES 192u
#define PROCS 4
#define FILES \
    4 /* two mapped private only, since it is open whether a private page follows the file */
#define FILE_PAGES 64u
#define LATE 8

struct page {
    bool mapped, shared, anon;
    uint32_t prot;
    uint64_t *cell; /* shared object's word, or the file's while private and not written */
    uint64_t own;   /* private word once cell is NULL */
};
struct proc {
    struct mm *mm;
    struct page page[PAGES];
    struct mm_self late[LATE];
    unsigned lates;
};

static struct proc g_proc[PROCS];
static struct fake_file *g_file[FILES];
static uint64_t g_file_cell[FILES][FILE_PAGES];
static uint64_t g_rng, g_value = 1;
static unsigned long g_step;
static bool g_inject; /* the host may refuse a mapping in this step */

static uint64_t rnd(uint64_t n)
{
    g_rng ^= g_rng << 13;
    g_rng ^= g_rng >> 7;
    g_rng ^= g_rng << 17;
    return g_rng % n;
}

static void fail_at(const char *what, unsigned proc, unsigned page)
{
    print_error("step %lu: %s, process %u page %u\n", g_step, what, proc, page);
    fail();
}

static uint64_t addr_of(unsigned page)
{
    return BASE + page * PAGE_SIZE;
}

static void pick(unsigned *a, unsigned *n)
{
    *n = 1 + (unsigned)rnd(rnd(4) ? 8 : 100);
    *a = (unsigned)rnd(PAGES);
    if (*a + *n > PAGES)
        *n = PAGES - *a;
}

static uint32_t pick_prot(void)
{
    static const uint32_t p[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ,
                                 PROT_NONE};
    return p[rnd(4)];
}

static uint64_t value_of(const struct page *p)
{
    return p->cell ? *p->cell : p->own;
}

/* Late self operations over these pages: the guest's own view is not defined until they ran. */
static bool is_late(const struct proc *p, unsigned page)
{
    for (unsigned i = 0; i < p->lates; i++)
        if (addr_of(page) >= p->late[i].addr && addr_of(page) < p->late[i].addr + p->late[i].len)
            return true;
    return false;
}

static void run_self(struct proc *p, const struct mm_self *self)
{
    if (!self->op)
        return;
    if (rnd(3) == 0 && p->lates < LATE)
        p->late[p->lates++] = *self;
    else
        guest_self(p->mm, self);
}

static void late_step(struct proc *p)
{
    if (!p->lates)
        return;
    guest_self(p->mm, &p->late[--p->lates]);
}

/* Words of shared anonymous objects; never given back. */
static uint64_t *new_cells(unsigned n)
{
    static uint64_t cells[4u << 20];
    static size_t used;
    if (used + n > ARRAY_SIZE(cells))
        fail_at("out of cells", 0, 0);
    used += n;
    return &cells[used - n];
}

static void do_map(struct proc *p)
{
    unsigned a, n, kind = (unsigned)rnd(4);
    pick(&a, &n);
    uint32_t prot = pick_prot(), flags = MAP_FIXED | (rnd(8) ? 0u : (uint32_t)MAP_POPULATE);
    int64_t r;
    unsigned file = (unsigned)rnd(FILES), first = 0;
    uint64_t *cells = NULL;
    if (kind >= 2) {
        file = (file & 1) + 2 * (kind - 2);
        n = MIN(n, FILE_PAGES);
        first = (unsigned)rnd(FILE_PAGES - n + 1);
    }
    switch (kind) {
    case 0:
        r = map_anon(p->mm, addr_of(a), n * PAGE_SIZE, prot, flags | MAP_PRIVATE);
        break;
    case 1:
        r = map_anon(p->mm, addr_of(a), n * PAGE_SIZE, prot, flags | MAP_SHARED);
        cells = new_cells(n);
        break;
    default:
        r = map_file(p->mm, g_file[file], addr_of(a), n * PAGE_SIZE, prot,
                     flags | (kind == 2 ? MAP_PRIVATE : MAP_SHARED), first * PAGE_SIZE);
        cells = &g_file_cell[file][first];
        break;
    }
    if (r == -ENOMEM && g_inject) { /* the old mapping is gone all the same */
        for (unsigned i = 0; i < n; i++)
            p->page[a + i] = (struct page){0};
        return;
    }
    if (r != (int64_t)addr_of(a))
        fail_at("mmap", (unsigned)(p - g_proc), a);
    for (unsigned i = 0; i < n; i++)
        p->page[a + i] = (struct page){.mapped = true,
                                       .shared = kind & 1,
                                       .anon = kind == 0,
                                       .prot = prot,
                                       .cell = cells ? &cells[i] : NULL};
}

static void do_unmap(struct proc *p)
{
    struct mm_self self = {0};
    unsigned a, n;
    pick(&a, &n);
    bool by_self = rnd(2);
    if (mm_munmap(p->mm, addr_of(a), n * PAGE_SIZE, by_self ? &self : NULL) < 0)
        fail_at("munmap", (unsigned)(p - g_proc), a);
    for (unsigned i = 0; i < n; i++)
        p->page[a + i] = (struct page){0};
    run_self(p, &self);
}

static void do_protect(struct proc *p)
{
    struct mm_self self = {0};
    unsigned a, n, i;
    pick(&a, &n);
    uint32_t prot = pick_prot();
    int r = mm_mprotect(p->mm, addr_of(a), n * PAGE_SIZE, prot, rnd(2) ? &self : NULL);
    for (i = 0; i < n && p->page[a + i].mapped; i++)
        p->page[a + i].prot = prot;
    if (r != (i == n ? 0 : -ENOMEM))
        fail_at("mprotect", (unsigned)(p - g_proc), a);
    run_self(p, &self);
}

static void do_remap(struct proc *p)
{
    unsigned a, n, b, m;
    pick(&a, &n);
    pick(&b, &m);
    if (b < a + n && a < b + n)
        return;
    if (b + n > PAGES)
        return;
    int64_t r = mm_mremap(p->mm, addr_of(a), n * PAGE_SIZE, n * PAGE_SIZE,
                          MREMAP_MAYMOVE | MREMAP_FIXED, addr_of(b));
    if (r < 0)
        return; /* not one VMA */
    for (unsigned i = 0; i < n; i++) {
        if (!p->page[a + i].mapped)
            fail_at("mremap of a hole", (unsigned)(p - g_proc), a + i);
        p->page[b + i] = p->page[a + i];
        p->page[a + i] = (struct page){0};
    }
}

/* Only where the whole range is private anonymous. */
static void do_dontneed(struct proc *p)
{
    unsigned a, n;
    pick(&a, &n);
    for (unsigned i = 0; i < n; i++)
        if (!p->page[a + i].mapped || !p->page[a + i].anon)
            return;
    if (mm_madvise(p->mm, addr_of(a), n * PAGE_SIZE, MADV_DONTNEED) < 0)
        fail_at("madvise", (unsigned)(p - g_proc), a);
    for (unsigned i = 0; i < n; i++) {
        struct page *q = &p->page[a + i];
        q->own = 0;
    }
}

static void check_page(struct proc *p, unsigned i, bool guest)
{
    struct page *q = &p->page[i];
    unsigned nr = (unsigned)(p - g_proc);
    bool readable = q->mapped && q->prot != PROT_NONE;
    uint64_t v = 0;
    if (guest && is_late(p, i))
        guest = false;
    int r = guest ? guest_read64(p->mm, addr_of(i), &v)
                  : copy_in(p->mm, &v, UADDR(addr_of(i)), sizeof v);
    if (r == -ENOMEM && g_inject)
        return;
    if (r != (readable ? 0 : guest ? SIGSEGV : -EFAULT))
        fail_at(guest ? "guest read: wrong result" : "copy_in: wrong result", nr, i);
    if (readable && v != value_of(q)) {
        print_error("got %lx want %lx\n", v, value_of(q));
        fail_at(guest ? "guest read: wrong value" : "copy_in: wrong value", nr, i);
    }
}

static void do_write(struct proc *p)
{
    unsigned i = (unsigned)rnd(PAGES);
    struct page *q = &p->page[i];
    bool guest = rnd(2) && !is_late(p, i), writable = q->mapped && (q->prot & PROT_WRITE);
    uint64_t v = ++g_value;
    int r = guest ? guest_write64(p->mm, addr_of(i), v)
                  : copy_out(p->mm, UADDR(addr_of(i)), &v, sizeof v);
    if (r == -ENOMEM && g_inject)
        return;
    if (r != (writable ? 0 : guest ? SIGSEGV : -EFAULT))
        fail_at(guest ? "guest write: wrong result" : "copy_out: wrong result",
                (unsigned)(p - g_proc), i);
    if (!writable)
        return;
    if (q->shared) {
        *q->cell = v;
    } else {
        q->cell = NULL;
        q->own = v;
    }
}

static void do_fork(struct proc *p)
{
    unsigned k = (unsigned)rnd(PROCS);
    struct proc *c = &g_proc[k];
    if (c == p)
        return;
    if (c->mm)
        mm_put(c->mm);
    memset(c, 0, sizeof *c);
    c->mm = mm_fork(p->mm);
    if (IS_ERR(c->mm)) {
        if (!g_inject)
            fail_at("fork", k, 0);
        c->mm = NULL;
        return;
    }
    memcpy(c->page, p->page, sizeof c->page);
}

static void random_run(void **state)
{
    (void)state;
    const char *seed = getenv("MM_TEST_SEED"), *ops = getenv("MM_TEST_OPS");
    unsigned long count = ops ? strtoul(ops, NULL, 0) : 100000;
    g_rng = seed ? strtoull(seed, NULL, 0) : 88172645463325252ULL;
    fake_handlers();
    g_proc[0].mm = mm_new();
    for (g_step = 0; g_step < count; g_step++) {
        struct proc *p = &g_proc[rnd(PROCS)];
        if (!p->mm)
            continue;
        uint64_t what = rnd(100);
        g_inject = rnd(30) == 0 && (what < 6 || what == 18 || what >= 22);
        fake_fail_map = g_inject ? 1 + rnd(3) : 0;
        if (what < 6)
            do_map(p);
        else if (what < 9)
            do_unmap(p);
        else if (what < 13)
            do_protect(p);
        else if (what < 16)
            do_remap(p);
        else if (what < 18)
            do_dontneed(p);
        else if (what < 19)
            do_fork(p);
        else if (what < 22)
            late_step(p);
        else if (what < 60)
            do_write(p);
        else
            check_page(p, (unsigned)rnd(PAGES), rnd(2));
        fake_fail_map = 0;
        g_inject = false;
        if (g_step % 1000 == 999)
            for (unsigned i = 0; i < PAGES; i++)
                check_page(p, i, true);
    }
    for (unsigned k = 0; k < PROCS; k++)
        if (g_proc[k].mm)
            mm_put(g_proc[k].mm);
    for (unsigned f = 0; f < FILES; f++) {
        assert_int_equal(g_file[f]->refs, 1);
        fake_file_put(g_file[f]);
    }
    assert_int_equal(memfile_used(fake_mf), 0);
    assert_int_equal(fake.alive, 0);
}

static int setup(void **state)
{
    (void)state;
    fake_setup(512ULL << 20);
    for (unsigned f = 0; f < FILES; f++) {
        g_file[f] = fake_file_new(FILE_PAGES, f & 1);
        for (unsigned i = 0; i < FILE_PAGES; i++)
            memset(&g_file_cell[f][i], (int)i + 1, sizeof g_file_cell[f][i]);
    }
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_run)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
