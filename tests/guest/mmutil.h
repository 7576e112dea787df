/* SPDX-License-Identifier: Apache-2.0
 * mmutil.h - faults that are caught, mappings and files to try them on. */
#ifndef MMUTIL_H
#define MMUTIL_H

#include "guest.h"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/mman.h>

#define PG 4096UL

static sigjmp_buf g_jump;
static volatile int g_signo, g_code;
static void *volatile g_addr;

static inline void caught(int signo, siginfo_t *si, void *uc)
{
    (void)uc;
    g_signo = signo;
    g_code = si->si_code;
    g_addr = si->si_addr;
    siglongjmp(g_jump, 1);
}

static inline void catch_faults(void)
{
    struct sigaction a = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &a, NULL) == 0);
    CHECK(sigaction(SIGBUS, &a, NULL) == 0);
}

/* The signal a read or write of @p raises, 0 none. */
static inline int probe(volatile char *p, bool write)
{
    g_signo = 0;
    if (sigsetjmp(g_jump, 1) == 0) {
        char c = *p;
        if (write)
            *p = c;
    }
    return g_signo;
}

static inline char *map(size_t len, int prot)
{
    char *p = mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

static inline int temp_file(size_t size)
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

#endif
