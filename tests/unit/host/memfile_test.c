/* SPDX-License-Identifier: Apache-2.0
 * The memory file: ranges, congruence, holes, limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <host/memfile.h>

#define MIB (1ULL << 20)

#if defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static struct memfile *mf;

static int setup(void **state)
{
    (void)state;
    return memfile_create(64 * MIB, &mf);
}

static int teardown(void **state)
{
    (void)state;
    memfile_destroy(mf);
    return 0;
}

static uint64_t take(uint64_t len, uint64_t congruent)
{
    uint64_t off = 0;
    assert_int_equal(memfile_alloc(mf, len, congruent, &off), 0);
    assert_int_not_equal(off, 0);
    assert_int_equal(off % PAGE_SIZE, 0);
    if (congruent != MEMFILE_ANY)
        assert_int_equal(off % (2 * MIB), congruent % (2 * MIB));
    return off;
}

static void holes_read_zero_and_pointer_is_linear(void **state)
{
    (void)state;
    uint64_t a = take(PAGE_SIZE, MEMFILE_ANY), b = take(3 * PAGE_SIZE, MEMFILE_ANY);
    char *p = memfile_ptr(mf, a), *q = memfile_ptr(mf, b);
    assert_int_equal(q - p, (int64_t)(b - a));
    assert_int_equal(p[0], 0);
    memset(q, 7, 3 * PAGE_SIZE);
    char in_file;
    assert_int_equal(pread(memfile_fd(mf), &in_file, 1, (off_t)(b + 2 * PAGE_SIZE)), 1);
    assert_int_equal(in_file, 7);
}

static void congruence_is_kept(void **state)
{
    (void)state;
    uint64_t bases[] = {0, 0x1000, 0x7f12345ff000, 0x555555554000, 2 * MIB - PAGE_SIZE};
    for (size_t i = 0; i < ARRAY_SIZE(bases); i++) {
        take(PAGE_SIZE, bases[i]);
        take(4 * MIB, bases[i]);
        take(2 * MIB - PAGE_SIZE, bases[i]);
    }
}

static void neighbours_follow_each_other(void **state)
{
    (void)state;
    uint64_t addr = 0x7ffff7a00000;
    uint64_t first = take(64 * 1024, addr);
    assert_int_equal(take(64 * 1024, addr + 64 * 1024), first + 64 * 1024);
}

static void freed_ranges_merge_and_come_back_zero(void **state)
{
    (void)state;
    uint64_t off = take(16 * PAGE_SIZE, MEMFILE_ANY);
    memset(memfile_ptr(mf, off), 1, 16 * PAGE_SIZE);
    uint64_t used = memfile_used(mf);
    memfile_free(mf, off + 4 * PAGE_SIZE, 4 * PAGE_SIZE);
    assert_true(memfile_used(mf) <= used - 4 * PAGE_SIZE);
    memfile_free(mf, off + 12 * PAGE_SIZE, 4 * PAGE_SIZE);
    memfile_free(mf, off + 8 * PAGE_SIZE, 4 * PAGE_SIZE);
    memfile_free(mf, off, 4 * PAGE_SIZE);
    uint64_t again = take(16 * PAGE_SIZE, MEMFILE_ANY);
    assert_int_equal(again, off);
    const char *p = memfile_ptr(mf, again);
    for (size_t i = 0; i < 16 * PAGE_SIZE; i += 512)
        assert_int_equal(p[i], 0);
}

static void decommit_keeps_the_range(void **state)
{
    (void)state;
    uint64_t off = take(8 * PAGE_SIZE, MEMFILE_ANY);
    memset(memfile_ptr(mf, off), 5, 8 * PAGE_SIZE);
    memfile_decommit(mf, off, 8 * PAGE_SIZE);
    assert_int_equal(*(char *)memfile_ptr(mf, off + PAGE_SIZE), 0);
    assert_int_not_equal(take(8 * PAGE_SIZE, MEMFILE_ANY), off);
}

static void populate_and_used(void **state)
{
    (void)state;
    uint64_t off = take(MIB, MEMFILE_ANY), before = memfile_used(mf);
    assert_int_equal(memfile_populate(mf, off, MIB), 0);
    assert_true(memfile_used(mf) >= before + MIB);
}

static void limit_is_enforced(void **state)
{
    (void)state;
    assert_int_equal(memfile_limit(mf), 64 * MIB);
    if (!memfile_limit_is_hard(mf))
        skip();
    uint64_t off = take(80 * MIB, MEMFILE_ANY);
    assert_int_equal(memfile_populate(mf, off, 80 * MIB), -ENOMEM);
    memfile_decommit(mf, off, 80 * MIB);
    assert_int_equal(memfile_populate(mf, off, MIB), 0);

    pid_t pid = fork();
    if (!pid) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGBUS, SIG_DFL);
        memset(memfile_ptr(mf, off), 1, 80 * MIB);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void too_much_range(void **state)
{
    (void)state;
    uint64_t off;
    assert_int_equal(memfile_alloc(mf, 1ULL << 41, MEMFILE_ANY, &off), -ENOMEM);
    assert_int_equal(memfile_alloc(mf, 1ULL << 40, MEMFILE_ANY, &off), -ENOMEM);
}

static void huge_pages_are_a_hint(void **state)
{
    (void)state;
    uint64_t off = take(4 * MIB, 0);
    memfile_want_huge(mf, off, 4 * MIB);
    assert_int_equal(memfile_populate(mf, off, 4 * MIB), 0);
    assert_int_equal(*(char *)memfile_ptr(mf, off + 3 * MIB), 0);
    memfile_free(mf, off + MIB, PAGE_SIZE); /* a piece of a huge page */
    memfile_free(mf, off, MIB);
    memfile_free(mf, off + MIB + PAGE_SIZE, 3 * MIB - PAGE_SIZE);
    assert_int_equal(memfile_used(mf), 0);
}

/* RLIMIT_AS: a shorter file. */
static void little_address_space(void **state)
{
    (void)state;
    if (SANITIZED)
        skip(); /* shadow memory is larger than the limit */
    pid_t pid = fork();
    if (!pid) {
        struct rlimit as = {40ULL << 30, 40ULL << 30};
        struct memfile *small;
        uint64_t off;
        if (setrlimit(RLIMIT_AS, &as) || memfile_create(64 * MIB, &small) ||
            memfile_alloc(small, 1ULL << 30, MEMFILE_ANY, &off) ||
            memfile_alloc(small, 1ULL << 36, MEMFILE_ANY, &off) != -ENOMEM)
            _exit(1);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* A mapping with execution rights must be possible: guests run from it. */
static void executable(void **state)
{
    (void)state;
    uint64_t off = take(PAGE_SIZE, MEMFILE_ANY);
    void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, memfile_fd(mf), (off_t)off);
    assert_true(p != MAP_FAILED);
    munmap(p, PAGE_SIZE);
}

#define MODEL_PAGES 4096

/* Random calls against a model: no range is handed out twice, everything comes back. */
static void random_against_model(void **state)
{
    (void)state;
    static struct {
        uint64_t off, len;
    } held[512];
    static uint8_t owned[MODEL_PAGES * 64];
    size_t count = 0;
    memset(owned, 0, sizeof owned);
    srand(4711);
    for (int step = 0; step < 20000; step++) {
        if (count < ARRAY_SIZE(held) && rand() % 5 < 3) {
            uint64_t len = (rand() % 8 ? rand() % 16 + 1 : rand() % 1500 + 1) * PAGE_SIZE;
            uint64_t at = rand() % 2 ? MEMFILE_ANY : (uint64_t)(rand() % 512) * PAGE_SIZE;
            uint64_t off = take(len, at);
            for (uint64_t p = off / PAGE_SIZE; p < (off + len) / PAGE_SIZE; p++) {
                if (p >= sizeof owned)
                    continue;
                assert_int_equal(owned[p], 0);
                owned[p] = 1;
            }
            held[count].off = off;
            held[count++].len = len;
        } else if (count) {
            size_t i = (size_t)rand() % count;
            uint64_t len = held[i].len;
            if (len > PAGE_SIZE && rand() % 2)
                len = len / PAGE_SIZE / 2 * PAGE_SIZE;
            for (uint64_t p = held[i].off / PAGE_SIZE; p < (held[i].off + len) / PAGE_SIZE; p++)
                if (p < sizeof owned)
                    owned[p] = 0;
            memfile_free(mf, held[i].off, len);
            held[i].off += len;
            held[i].len -= len;
            if (!held[i].len)
                held[i] = held[--count];
        }
    }
    while (count) {
        count--;
        memfile_free(mf, held[count].off, held[count].len);
    }
}

static void *hammer(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 2000; i++) {
        uint64_t len = (rand_r(&seed) % 4 + 1) * PAGE_SIZE, off;
        if (memfile_alloc(mf, len, MEMFILE_ANY, &off))
            return (void *)1;
        uint64_t *p = memfile_ptr(mf, off);
        if (*p)
            return (void *)2;
        *p = seed;
        memfile_free(mf, off, len);
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    pthread_t t[3];
    for (uintptr_t i = 0; i < ARRAY_SIZE(t); i++)
        assert_int_equal(pthread_create(&t[i], NULL, hammer, (void *)(i + 1)), 0);
    for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
        void *ret;
        pthread_join(t[i], &ret);
        assert_null(ret);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(holes_read_zero_and_pointer_is_linear, setup, teardown),
        cmocka_unit_test_setup_teardown(congruence_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(neighbours_follow_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(freed_ranges_merge_and_come_back_zero, setup, teardown),
        cmocka_unit_test_setup_teardown(decommit_keeps_the_range, setup, teardown),
        cmocka_unit_test_setup_teardown(populate_and_used, setup, teardown),
        cmocka_unit_test_setup_teardown(limit_is_enforced, setup, teardown),
        cmocka_unit_test_setup_teardown(too_much_range, setup, teardown),
        cmocka_unit_test_setup_teardown(huge_pages_are_a_hint, setup, teardown),
        cmocka_unit_test(little_address_space),
        cmocka_unit_test_setup_teardown(executable, setup, teardown),
        cmocka_unit_test_setup_teardown(random_against_model, setup, teardown),
        cmocka_unit_test_setup_teardown(threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
