/* SPDX-License-Identifier: Apache-2.0
 * mm.c - address space: mapping, rights, moving, heap, advice, sharing, copy-on-write, files under
 * mappings, huge reservations, and what faults report. */
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/uio.h>

#define PG 4096UL

static sigjmp_buf g_jump;
static volatile int g_signo, g_code;
static void *volatile g_addr;

static void caught(int signo, siginfo_t *si, void *uc)
{
    (void)uc;
    g_signo = signo;
    g_code = si->si_code;
    g_addr = si->si_addr;
    siglongjmp(g_jump, 1);
}

static void catch_faults(void)
{
    struct sigaction a = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    CHECK(sigaction(SIGBUS, &a, NULL) == 0);
}

/* The signal a read or write of @p raises, 0 none. */
static int probe(volatile char *p, bool write)
{
    g_signo = 0;
    if (sigsetjmp(g_jump, 1) == 0) {
        char c = *p;
        if (write)
            *p = c;
    }
    return g_signo;
}

static char *map(size_t len, int prot)
{
    char *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static int temp_file(size_t size)
{
    char name[] = "/tmp/guest_mm_XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    for (size_t off = 0; off < size; off += PG) {
        char page[PG];
        memset(page, 'A' + (int)(off / PG), PG);
        CHECK(write(fd, page, PG) == (ssize_t)PG);
    }
    return fd;
}

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

/* --- copy on write, sharing --- */

static void case_cow(void)
{
    size_t n = 256;
    char *p = map(n * PG, PROT_READ | PROT_WRITE);
    for (size_t i = 0; i < n; i++)
        p[i * PG] = (char)i;
    pid_t pid = fork();
    if (pid == 0) {
        for (size_t i = 0; i < n; i += 3)
            p[i * PG] = 0x55;
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(p[i * PG], i % 3 ? (char)i : 0x55);
        _exit(0);
    }
    for (size_t i = 1; i < n; i += 3)
        p[i * PG] = 0x66;
    CHECK_EQ(guest_wait(pid), 0);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(p[i * PG], i % 3 == 1 ? 0x66 : (char)i);
}

static void case_cow_chain(void)
{
    int *p = (int *)(void *)map(PG, PROT_READ | PROT_WRITE);
    *p = 0;
    pid_t pid = fork();
    for (int depth = 1; pid == 0; depth++) {
        CHECK_EQ(*p, depth - 1);
        *p = depth;
        if (depth == 6)
            _exit(0);
        pid_t child = fork();
        if (child == 0)
            continue;
        int status = guest_wait(child);
        CHECK_EQ(*p, depth);
        _exit(WEXITSTATUS(status));
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(*p, 0);
}

static void case_cow_calls(void)
{
    int fd[2];
    CHECK(pipe(fd) == 0);
    char *p = map(PG, PROT_READ | PROT_WRITE);
    strcpy(p, "old");
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(read(fd[0], p, 4), 4); /* the kernel writes into a shared page */
        CHECK(!strcmp(p, "new"));
        _exit(0);
    }
    CHECK_EQ(write(fd[1], "new", 4), 4);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(!strcmp(p, "old"));
}

static void case_cow_fork_storm(void)
{
    unsigned long *p = (void *)map(64 * PG, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 20; i++) {
        for (int k = 0; k < 64; k++)
            p[k * 512] = (unsigned long)i;
        pid_t pid = fork();
        if (pid == 0) {
            for (int k = 0; k < 64; k++) {
                CHECK_EQ(p[k * 512], i);
                p[k * 512] = 99;
            }
            _exit(0);
        }
        for (int k = 0; k < 64; k++)
            p[k * 512]++;
        CHECK_EQ(guest_wait(pid), 0);
        for (int k = 0; k < 64; k++)
            CHECK_EQ(p[k * 512], i + 1);
    }
}

static void case_shared_anonymous(void)
{
    volatile int *p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    p[0] = 1;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_EQ(p[0], 1);
        p[0] = 2;
        p[1024] = 3; /* a page that was not there at fork */
        WAIT_FOR(p[1] == 7);
        _exit(0);
    }
    WAIT_FOR(p[0] == 2 && p[1024] == 3);
    p[1] = 7;
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- files --- */

static void case_file_private(void)
{
    int fd = temp_file(4 * PG);
    char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), c;
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(p[i * PG + 9], 'A' + i);
    p[PG] = 'z';
    CHECK(pread(fd, &c, 1, PG) == 1);
    CHECK_EQ(c, 'B'); /* not in the file */
    CHECK(pwrite(fd, "q", 1, 2 * PG) == 1);
    char *off = mmap(NULL, PG, PROT_READ, MAP_PRIVATE, fd, 3 * PG);
    CHECK_EQ(off[0], 'D');
    close(fd); /* the mapping lives on */
    CHECK_EQ(p[3 * PG], 'D');
}

static void case_file_shared(void)
{
    int fd = temp_file(4 * PG);
    char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), c;
    char *q = mmap(NULL, 4 * PG, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED && q != MAP_FAILED);
    p[PG + 1] = 'w';
    CHECK(pread(fd, &c, 1, PG + 1) == 1);
    CHECK_EQ(c, 'w');
    CHECK_EQ(q[PG + 1], 'w');
    CHECK(pwrite(fd, "v", 1, 3 * PG) == 1);
    CHECK_EQ(p[3 * PG], 'v');
    CHECK(msync(p, 4 * PG, MS_SYNC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        p[0] = 'c';
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(q[0], 'c');
}

static void case_file_rights(void)
{
    char name[] = "/tmp/guest_mm_XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && ftruncate(fd, (off_t)PG) == 0);
    int ro = open(name, O_RDONLY), wo = open(name, O_WRONLY);
    unlink(name);
    CHECK_ERR(mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0), EACCES);
    CHECK_ERR(mmap(NULL, PG, PROT_READ, MAP_SHARED, wo, 0), EACCES);
    CHECK(mmap(NULL, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, ro, 0) != MAP_FAILED);
    char *p = mmap(NULL, PG, PROT_READ, MAP_SHARED, ro, 0);
    CHECK(p != MAP_FAILED);
    CHECK_ERR(mprotect(p, PG, PROT_READ | PROT_WRITE), EACCES);
    int dir = open("/", O_RDONLY | O_DIRECTORY);
    CHECK_ERR(mmap(NULL, PG, PROT_READ, MAP_PRIVATE, dir, 0), ENODEV);
}

static void case_file_tail(void)
{
    catch_faults();
    int fd = temp_file(0);
    CHECK(write(fd, "hello", 5) == 5);
    char *p = mmap(NULL, 2 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK_EQ(p[4], 'o');
    CHECK_EQ(p[5], 0); /* zeros to the end of the page */
    CHECK_EQ(p[PG - 1], 0);
    CHECK_EQ(probe(p + PG, false), SIGBUS);
    CHECK_EQ(g_code, BUS_ADRERR);
    CHECK(g_addr == p + PG);
    CHECK(ftruncate(fd, 2 * (off_t)PG) == 0);
    CHECK_EQ(probe(p + PG, true), 0); /* grown */
}

static void case_file_truncated(void)
{
    catch_faults();
    int fd = temp_file(4 * PG), fds[2];
    CHECK(pipe(fds) == 0);
    char *p = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *q = mmap(NULL, 4 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    p[3 * PG] = 'x';
    q[2 * PG] = 'y';
    CHECK(ftruncate(fd, (off_t)PG + 10) == 0);
    CHECK_EQ(probe(p + PG, true), 0);
    CHECK_EQ(p[PG + 10], 0); /* cleared behind the new end */
    CHECK_EQ(probe(p + 2 * PG, false), SIGBUS);
    CHECK_EQ(probe(p + 3 * PG, true), SIGBUS);
    CHECK_EQ(probe(q + 2 * PG, false), SIGBUS); /* the private copy goes too */
    CHECK_ERR(write(fds[1], p + 3 * PG, 10), EFAULT);
    CHECK(write(fds[1], "0123456789", 10) == 10);
    CHECK_ERR(read(fds[0], p + 3 * PG, 10), EFAULT);
    CHECK(ftruncate(fd, 4 * (off_t)PG) == 0);
    CHECK_EQ(p[3 * PG], 0);
}

static void case_memfd(void)
{
    int fd = memfd_create("guest", MFD_CLOEXEC);
    CHECK(fd >= 0);
    CHECK(ftruncate(fd, 8 * (off_t)PG) == 0);
    char *p = mmap(NULL, 8 * PG, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    strcpy(p + 5 * PG, "memfd");
    char buf[6];
    CHECK(pread(fd, buf, 6, 5 * PG) == 6);
    CHECK(!strcmp(buf, "memfd"));
}

/* --- limits, maps, threads --- */

static void case_rlimit_as(void)
{
    struct rlimit rl = {1UL << 30, 1UL << 30};
    CHECK(setrlimit(RLIMIT_AS, &rl) == 0);
    CHECK_ERR(mmap(NULL, 2UL << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), ENOMEM);
    CHECK(map(1UL << 20, PROT_READ) != NULL);
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

#define CASE(n) {#n, case_##n}
static const struct guest_case cases[] = {
    CASE(anonymous),      CASE(errors),       CASE(munmap_middle),   CASE(fixed_replaces),
    CASE(hint),           CASE(reuse_is_zero), CASE(mprotect),       CASE(exec_code),
    CASE(calls_fault),    CASE(huge_reservation), CASE(sparse_touch), CASE(large),
    CASE(mremap),         CASE(mremap_no_room), CASE(mremap_file),   CASE(brk),
    CASE(madvise),        CASE(madvise_file), CASE(mincore_mlock),   CASE(cow),
    CASE(cow_chain),      CASE(cow_calls),    CASE(cow_fork_storm),  CASE(shared_anonymous),
    CASE(file_private),   CASE(file_shared),  CASE(file_rights),     CASE(file_tail),
    CASE(file_truncated), CASE(memfd),        CASE(rlimit_as),       CASE(proc_maps),
    CASE(threads),        CASE(munmap_other_thread), CASE(stack_grows), CASE(process_vm),
};
GUEST_MAIN(cases)
