/* SPDX-License-Identifier: Apache-2.0
 * mmshare.c - copy-on-write, shared memory, files under mappings, truncation. */
#include "mmutil.h"

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
    if (pid) {
        CHECK_EQ(guest_wait(pid), 0);
        CHECK_EQ(*p, 0);
        return;
    }
    for (int depth = 1;; depth++) {
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

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(cow),
    CASE(cow_chain),
    CASE(cow_calls),
    CASE(cow_fork_storm),
    CASE(shared_anonymous),
    CASE(file_private),
    CASE(file_shared),
    CASE(file_rights),
    CASE(file_tail),
    CASE(file_truncated),
    CASE(memfd),
};
GUEST_MAIN(cases)
