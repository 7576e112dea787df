/* SPDX-License-Identifier: Apache-2.0
 * mm.c - address space: mapping, rights, moving, heap, advice, huge reservations, limits. */
#include "mmutil.h"

#include <pthread.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/uio.h>

/* --- mmap, munmap --- */

static void case_anonymous(void)
{
    char *p = map(64 * PG, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < 64 * PG; i += 512)
        CHECK_EQ(p[i], 0);
    for (size_t i = 0; i < 64; i++)
        p[i * PG] = (char)i;
    for (size_t i = 0; i < 64; i++)
        CHECK_EQ(p[i * PG], (char)i);
    CHECK(munmap(p, 64 * PG) == 0);
    CHECK(munmap(p, 64 * PG) == 0); /* nothing there: no error */
}

static void case_errors(void)
{
    int rw = PROT_READ | PROT_WRITE, pa = MAP_PRIVATE | MAP_ANONYMOUS;
    CHECK_ERR(mmap(NULL, 0, rw, pa, -1, 0), EINVAL);
    CHECK_ERR(mmap(NULL, PG, rw, MAP_ANONYMOUS, -1, 0), EINVAL);
    CHECK_ERR(mmap((void *)1, PG, rw, pa | MAP_FIXED, -1, 0), EINVAL);
    CHECK_ERR(mmap(NULL, PG, rw, MAP_PRIVATE, 999, 0), EBADF);
    CHECK_ERR(mmap(NULL, PG, rw, MAP_PRIVATE, 0, 123), EINVAL);
    CHECK_ERR(mmap(NULL, 1UL << 62, rw, pa, -1, 0), ENOMEM);
    CHECK_ERR(munmap((void *)1, PG), EINVAL);
    CHECK_ERR(munmap((void *)PG, 0), EINVAL);
    CHECK_ERR(mprotect((void *)1, PG, rw), EINVAL);
    CHECK_ERR(mprotect((void *)PG, PG, PROT_READ), ENOMEM);
    char *p = map(PG, rw);
    CHECK_ERR(mmap(p, PG, rw, pa | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK_ERR(madvise(p, PG, 9999), EINVAL);
    CHECK_ERR(msync(p, PG, MS_SYNC | MS_ASYNC), EINVAL);
}

static void case_munmap_middle(void)
{
    catch_faults();
    char *p = map(5 * PG, PROT_READ | PROT_WRITE);
    memset(p, 7, 5 * PG);
    CHECK(munmap(p + 2 * PG, PG) == 0);
    CHECK_EQ(probe(p + 2 * PG, false), SIGSEGV);
    CHECK_EQ(g_code, SEGV_MAPERR);
    CHECK(g_addr == p + 2 * PG);
    CHECK_EQ(p[2 * PG - 1], 7);
    CHECK_EQ(p[3 * PG], 7);
    char *q = mmap(p + 2 * PG, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                   -1, 0);
    CHECK(q == p + 2 * PG);
    CHECK_EQ(q[5], 0); /* fresh, not what was there */
    CHECK(munmap(p + PG, 3 * PG) == 0);
    CHECK_EQ(probe(p + PG, false), SIGSEGV);
    CHECK_EQ(p[0] + p[4 * PG], 14);
}

static void case_fixed_replaces(void)
{
    char *p = map(4 * PG, PROT_READ | PROT_WRITE);
    memset(p, 1, 4 * PG);
    int fd = temp_file(2 * PG);
    CHECK(mmap(p + PG, 2 * PG, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == p + PG);
    CHECK_EQ(p[PG - 1], 1);
    CHECK_EQ(p[PG], 'A');
    CHECK_EQ(p[2 * PG], 'B');
    CHECK_EQ(p[3 * PG], 1);
}

static void case_hint(void)
{
    char *p = map(16 * PG, PROT_READ);
    CHECK(munmap(p, 16 * PG) == 0);
    char *q = mmap(p, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(q == p); /* a free hint is taken */
    char *r = mmap(p, PG, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(r != MAP_FAILED && r != p);
}

static void case_reuse_is_zero(void)
{
    for (int i = 0; i < 50; i++) {
        char *p = map(16 * PG, PROT_READ | PROT_WRITE);
        for (int k = 0; k < 16; k++)
            CHECK_EQ(p[k * PG + 100], 0);
        memset(p, 0x5a, 16 * PG);
        CHECK(munmap(p, 16 * PG) == 0);
    }
}

/* --- rights --- */

static void case_mprotect(void)
{
    catch_faults();
    char *p = map(3 * PG, PROT_READ | PROT_WRITE);
    memset(p, 3, 3 * PG);
    CHECK(mprotect(p + PG, PG, PROT_READ) == 0);
    CHECK_EQ(probe(p + PG, false), 0);
    CHECK_EQ(probe(p + PG, true), SIGSEGV);
    CHECK_EQ(g_code, SEGV_ACCERR);
    CHECK_EQ(probe(p, true) + probe(p + 2 * PG, true), 0);
    CHECK(mprotect(p + PG, PG, PROT_NONE) == 0);
    CHECK_EQ(probe(p + PG, false), SIGSEGV);
    CHECK_EQ(g_code, SEGV_ACCERR);
    CHECK(mprotect(p, 3 * PG, PROT_READ | PROT_WRITE) == 0);
    CHECK_EQ(p[PG + 5], 3); /* the contents stay */
    CHECK_EQ(probe(p + PG, true), 0);
    munmap(p + PG, PG);
    CHECK_ERR(mprotect(p, 3 * PG, PROT_READ), ENOMEM);
}

static void case_exec_code(void)
{
    static const unsigned char code[] = {0xb8, 0x2a, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
    char *p = map(PG, PROT_READ | PROT_WRITE);
    memcpy(p, code, sizeof(code));
    CHECK(mprotect(p, PG, PROT_READ | PROT_EXEC) == 0);
    CHECK_EQ(((int (*)(void))(uintptr_t)p)(), 42);
    CHECK(mprotect(p, PG, PROT_READ | PROT_WRITE) == 0);
    p[1] = 0x2b;
    CHECK(mprotect(p, PG, PROT_READ | PROT_EXEC) == 0);
    CHECK_EQ(((int (*)(void))(uintptr_t)p)(), 43);
}

static void case_calls_fault(void)
{
    int fd[2];
    CHECK(pipe(fd) == 0);
    char *p = map(2 * PG, PROT_READ | PROT_WRITE);
    CHECK(mprotect(p + PG, PG, PROT_NONE) == 0);
    CHECK(write(fd[1], "0123456789", 10) == 10);
    CHECK_ERR(read(fd[0], p + PG, 4), EFAULT);
    CHECK_ERR(write(fd[1], p + PG, 4), EFAULT);
    CHECK(mprotect(p, PG, PROT_READ) == 0);
    CHECK_ERR(read(fd[0], p, 4), EFAULT);
    CHECK_EQ(write(fd[1], p, 4), 4);
    CHECK_ERR(write(fd[1], (void *)0xffff800000000000ULL, 4), EFAULT);
    CHECK_ERR(syscall(SYS_write, fd[1], NULL, 4), EFAULT);
    CHECK_ERR(syscall(SYS_pipe, 8), EFAULT);
}

/* --- reservations --- */

static void case_huge_reservation(void)
{
    catch_faults();
    size_t tb = 1UL << 40;
    char *p = mmap(NULL, 16 * tb, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK_EQ(probe(p + 5 * tb, false), SIGSEGV);
    CHECK_EQ(g_code, SEGV_ACCERR);
    for (int i = 0; i < 8; i++) {
        char *q = p + (size_t)i * 2 * tb;
        CHECK(mprotect(q, 16 * PG, PROT_READ | PROT_WRITE) == 0);
        memset(q, i + 1, 16 * PG);
    }
    for (int i = 0; i < 8; i++)
        CHECK_EQ(p[(size_t)i * 2 * tb + PG], i + 1);
    CHECK(munmap(p, 16 * tb) == 0);
    CHECK_EQ(probe(p, false), SIGSEGV);
    CHECK_EQ(g_code, SEGV_MAPERR);
}

static void case_sparse_touch(void)
{
    size_t gb = 1UL << 30;
    char *p = mmap(NULL, 4 * gb, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(p != MAP_FAILED);
    for (size_t i = 0; i < 200; i++)
        p[i * 20971520 + 17] = (char)(i + 1);
    for (size_t i = 0; i < 200; i++)
        CHECK_EQ(p[i * 20971520 + 17], (char)(i + 1));
    CHECK(munmap(p, 4 * gb) == 0);
}

static void case_large(void)
{
    size_t len = 64UL << 20;
    unsigned long *p = (void *)map(len, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < len / 8; i += 64)
        p[i] = i;
    for (size_t i = 0; i < len / 8; i += 64)
        CHECK(p[i] == i);
    CHECK(munmap(p, len) == 0);
}

/* --- mremap, brk --- */

static void case_mremap(void)
{
    catch_faults();
    char *p = map(8 * PG, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 8; i++)
        p[i * PG] = (char)(i + 1);
    CHECK(mremap(p, 8 * PG, 4 * PG, 0) == p); /* shrink */
    CHECK_EQ(probe(p + 4 * PG, false), SIGSEGV);
    char *q = mremap(p, 4 * PG, 1024 * PG, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(q[i * PG], i + 1);
    CHECK_EQ(q[4 * PG], 0);
    CHECK_EQ(q[1023 * PG], 0);
    if (q != p)
        CHECK_EQ(probe(p, false), SIGSEGV);
    char *target = map(2048 * PG, PROT_NONE);
    char *r = mremap(q, 1024 * PG, 1024 * PG, MREMAP_MAYMOVE | MREMAP_FIXED, target + 512 * PG);
    CHECK(r == target + 512 * PG);
    CHECK_EQ(r[3 * PG], 4);
    CHECK_EQ(probe(q, false), SIGSEGV);
    CHECK_ERR(mremap(r + 1, PG, PG, 0), EINVAL);
    CHECK_ERR(mremap((void *)PG, PG, 2 * PG, MREMAP_MAYMOVE), EFAULT);
    CHECK_ERR(mremap(r, PG, 0, 0), EINVAL);
    CHECK_ERR(mremap(r, PG, PG, 0x40), EINVAL);
}

static void case_mremap_no_room(void)
{
    char *p = map(3 * PG, PROT_READ | PROT_WRITE);
    CHECK_ERR(mremap(p, PG, 4 * PG, 0), ENOMEM); /* the next page is taken */
}

static void case_mremap_file(void)
{
    int fd = temp_file(4 * PG);
    char *p = mmap(NULL, PG, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    char *q = mremap(p, PG, 4 * PG, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(q[i * PG], 'A' + i);
}

static void case_brk(void)
{
    catch_faults();
    char *start = sbrk(0);
    CHECK(sbrk(1 << 20) == start);
    for (int i = 0; i < 1 << 20; i += (int)PG)
        CHECK_EQ(start[i], 0);
    memset(start, 5, 1 << 20);
    CHECK(sbrk(-(1 << 19)) == start + (1 << 20));
    CHECK_EQ(start[(1 << 19) - 1], 5);
    CHECK_EQ(probe(start + (1 << 19) + PG, false), SIGSEGV);
    CHECK(sbrk(1 << 19) != (void *)-1);
    CHECK_EQ(start[(1 << 19) + PG], 0); /* given back and taken again: empty */
    CHECK(brk(start) == 0);
    char *now = (char *)syscall(SYS_brk, 0);
    CHECK(now == start);
    CHECK((char *)syscall(SYS_brk, 16) == start); /* refused: the old end */
}

/* --- advice --- */

static void case_madvise(void)
{
    char *p = map(16 * PG, PROT_READ | PROT_WRITE);
    memset(p, 9, 16 * PG);
    CHECK(madvise(p + 4 * PG, 4 * PG, MADV_DONTNEED) == 0);
    CHECK_EQ(p[4 * PG - 1], 9);
    CHECK_EQ(p[4 * PG], 0); /* zero again at once */
    CHECK_EQ(p[8 * PG], 9);
    CHECK(madvise(p, 16 * PG, MADV_NORMAL) == 0);
    CHECK(madvise(p, 16 * PG, MADV_WILLNEED) == 0);
    CHECK(madvise(p, 16 * PG, MADV_SEQUENTIAL) == 0);
    CHECK(madvise(p, 16 * PG, MADV_RANDOM) == 0);
    CHECK(madvise(p, 4 * PG, MADV_FREE) == 0);
    p[0] = 1; /* written again: stays */
    CHECK_EQ(p[0], 1);
    CHECK_ERR(madvise(p + 1, PG, MADV_DONTNEED), EINVAL);
    munmap(p + 2 * PG, PG);
    CHECK_ERR(madvise(p, 4 * PG, MADV_DONTNEED), ENOMEM);
}

static void case_madvise_file(void)
{
    int fd = temp_file(2 * PG);
    char *p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    p[0] = 'x';
    CHECK(madvise(p, 2 * PG, MADV_DONTNEED) == 0);
    CHECK_EQ(p[0], 'A'); /* the file's contents again */
    char *s = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    s[0] = 'y';
    CHECK(madvise(s, 2 * PG, MADV_DONTNEED) == 0);
    CHECK_EQ(s[0], 'y'); /* shared: kept in the file */
}

static void case_mincore_mlock(void)
{
    unsigned char vec[4];
    char *p = map(4 * PG, PROT_READ | PROT_WRITE);
    memset(p, 1, 4 * PG);
    CHECK(mincore(p, 4 * PG, vec) == 0);
    CHECK_EQ(vec[0] & 1, 1);
    CHECK_ERR(mincore(p + 1, PG, vec), EINVAL);
    munmap(p + PG, PG);
    CHECK_ERR(mincore(p, 4 * PG, vec), ENOMEM);
    CHECK(mlock(p, PG) == 0);
    CHECK(munlock(p, PG) == 0);
}

/* --- limits, maps, threads --- */

static void case_rlimit_as(void)
{
    struct rlimit rl = {1UL << 30, 1UL << 30};
    CHECK(setrlimit(RLIMIT_AS, &rl) == 0);
    CHECK_ERR(mmap(NULL, 2UL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK(map(1UL << 20, PROT_READ) != NULL);
}

/* The vDSO can be read by calls too, as ld.so does when it lists names, and not be written. */
static void case_vdso(void)
{
    char *vdso = (char *)getauxval(AT_SYSINFO_EHDR), back[16], line[512];
    bool found = false;
    int p[2];

    CHECK(vdso);
    CHECK(pipe(p) == 0);
    CHECK(write(p[1], vdso, 16) == 16);
    struct iovec v[2] = {{vdso + 16, 8}, {vdso + 24, 8}};
    CHECK(writev(p[1], v, 2) == 16);
    for (int i = 0; i < 2; i++) {
        CHECK(read(p[0], back, 16) == 16);
        CHECK(!memcmp(back, vdso + 16 * i, 16));
    }
    CHECK(access(vdso, F_OK) == -1 && errno == ENOENT);
    CHECK(write(p[1], "x", 1) == 1);
    CHECK(read(p[0], vdso, 1) == -1 && errno == EFAULT);
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f);
    while (fgets(line, sizeof(line), f))
        found |= strstr(line, "[vdso]") && strtoull(line, NULL, 16) == (uintptr_t)vdso;
    fclose(f);
    CHECK(found);
}

static void case_proc_maps(void)
{
    char *p = map(7 * PG, PROT_READ | PROT_WRITE), line[512];
    CHECK(mprotect(p + 2 * PG, PG, PROT_READ) == 0);
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    int found = 0, stack = 0, self = 0;
    while (fgets(line, sizeof(line), f)) {
        unsigned long a, b;
        char perms[5];
        CHECK(sscanf(line, "%lx-%lx %4s", &a, &b, perms) == 3);
        if (a == (uintptr_t)p + 2 * PG && b == a + PG && !strcmp(perms, "r--p"))
            found = 1;
        if (strstr(line, "[stack]"))
            stack = 1;
        if ((uintptr_t)case_proc_maps >= a && (uintptr_t)case_proc_maps < b)
            self = strstr(line, "guest_mm") != NULL && perms[2] == 'x';
    }
    fclose(f);
    CHECK(found);
    CHECK(stack);
    CHECK(self);
}

static void *map_thread(void *arg)
{
    for (int i = 0; i < 200; i++) {
        size_t n = (size_t)(i % 7 + 1);
        char *p = map(n * PG, PROT_READ | PROT_WRITE);
        for (size_t k = 0; k < n; k++) {
            CHECK_EQ(p[k * PG], 0);
            p[k * PG] = (char)(long)arg;
        }
        for (size_t k = 0; k < n; k++)
            CHECK_EQ(p[k * PG], (char)(long)arg);
        CHECK(munmap(p, n * PG) == 0);
    }
    return NULL;
}

static void case_threads(void)
{
    pthread_t th[6];
    for (long i = 0; i < 6; i++)
        CHECK(pthread_create(&th[i], NULL, map_thread, (void *)(i + 1)) == 0);
    for (int i = 0; i < 6; i++)
        CHECK(pthread_join(th[i], NULL) == 0);
}

static volatile int g_phase;
static char *g_page;

static void *touch_thread(void *arg)
{
    (void)arg;
    g_page[0] = 1; /* this CPU has the mapping now */
    g_phase = 1;
    while (g_phase != 2)
        ;
    g_signo = 0;
    if (sigsetjmp(g_jump, 1) == 0)
        g_page[0] = 2;
    return NULL;
}

static void case_munmap_other_thread(void)
{
    pthread_t th;
    catch_faults();
    g_page = map(PG, PROT_READ | PROT_WRITE);
    CHECK(pthread_create(&th, NULL, touch_thread, NULL) == 0);
    WAIT_FOR(g_phase == 1);
    CHECK(munmap(g_page, PG) == 0);
    g_phase = 2; /* exact on return: the other thread must fault */
    CHECK(pthread_join(th, NULL) == 0);
    CHECK_EQ(g_signo, SIGSEGV);
}

__attribute__((noinline)) static long deep(int n)
{
    volatile char page[4096];
    page[0] = (char)n;
    page[4095] = 1;
    return n ? deep(n - 1) + page[4095] : page[4095];
}

static void case_stack_grows(void)
{
    CHECK_EQ(deep(1000), 1001); /* 4 MiB */
}

static void case_process_vm(void)
{
    char *p = map(4 * PG, PROT_READ | PROT_WRITE);
    char buf[16];
    strcpy(p, "peek");
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    struct iovec l = {buf, 5}, r = {p, 5};
    ssize_t n = process_vm_readv(pid, &l, 1, &r, 1, 0);
    int err = errno;
    kill(pid, SIGKILL);
    guest_wait(pid);
    if (n < 0 && (err == EPERM || err == ENOSYS))
        SKIP("process_vm_readv is not allowed here");
    CHECK_EQ(n, 5);
    CHECK(!strcmp(buf, "peek"));
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(anonymous),     CASE(errors),
    CASE(munmap_middle), CASE(fixed_replaces),
    CASE(hint),          CASE(reuse_is_zero),
    CASE(mprotect),      CASE(exec_code),
    CASE(calls_fault),   CASE(huge_reservation),
    CASE(sparse_touch),  CASE(large),
    CASE(mremap),        CASE(mremap_no_room),
    CASE(mremap_file),   CASE(brk),
    CASE(madvise),       CASE(madvise_file),
    CASE(mincore_mlock), CASE(rlimit_as),
    CASE(proc_maps),     CASE(vdso),
    CASE(threads),       CASE(munmap_other_thread),
    CASE(stack_grows),   CASE(process_vm),
};
GUEST_MAIN(cases)
