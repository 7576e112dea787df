/* SPDX-License-Identifier: Apache-2.0
 * patchrace.c - eight threads run call sites that nobody has run before, so that a sandbox that
 * changes sites changes each of them under the eyes of the other threads: by call, and by a jump
 * straight to the syscall instruction with another number. Every result and register is checked.
 *
 * PATCHRACE_ROUNDS: executions of sites in all (each thread runs a site ROUNDS_A_SITE times). */
#include <pthread.h>

#include "patchsites.h"

#define THREADS 8u
#define ROUNDS_A_SITE 4u
#define PAGES 4u
#define PER_PAGE (4096u / SITE_SIZE)
#define COUNT (PAGES * PER_PAGE) /* sites in one copy */
#define COPIES 6u                /* in one process: limits of changed sites are per process */

static char template[PAGES * 4096];
static const char *volatile copy;
static pthread_barrier_t barrier;

/* Every shape, at every distance from a multiple of 16. */
static size_t site_offset(unsigned i)
{
    return i * SITE_SIZE + (i / SITES * 5 + i) % 16;
}

static void template_fill(void)
{
    memset(template, 0x90, sizeof template);
    for (unsigned i = 0; i < COUNT; i++) {
        const struct site *s = &sites[i % SITES];
        CHECK((size_t)(s->end - s->begin) + 16 <= SITE_SIZE);
        memcpy(template + site_offset(i), s->begin, (size_t)(s->end - s->begin));
    }
}

static void *racer(void *arg)
{
    unsigned index = (unsigned)(uintptr_t)arg;
    struct site_thread t;

    site_thread_init(&t, index);
    for (unsigned c = 0; c < COPIES; c++) {
        pthread_barrier_wait(&barrier); /* mapped */
        const char *at = copy;
        for (unsigned i = 0; i < COUNT; i++) {
            const struct site *s = &sites[i % SITES];
            for (unsigned k = 0; k < ROUNDS_A_SITE; k++) {
                if ((i + k + index) % 4 == 3)
                    site_jump(s, at + site_offset(i), &t);
                else
                    site_check(s, at + site_offset(i), &t);
            }
        }
        pthread_barrier_wait(&barrier); /* not needed any more */
    }
    site_thread_fini(&t);
    return NULL;
}

/* @fd: map this file; -1: memory that was written and is now text. */
static char *copy_map(int fd)
{
    if (fd >= 0)
        return mmap(NULL, sizeof template, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    char *p =
        mmap(NULL, sizeof template, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED) {
        memcpy(p, template, sizeof template);
        CHECK(mprotect(p, sizeof template, PROT_READ | PROT_EXEC) == 0);
    }
    return p;
}

/* A new file for each process: no site of it has been seen. */
static int file_make(void)
{
    char name[] = "/tmp/patchrace.XXXXXX";
    int fd = mkstemp(name);

    CHECK(fd >= 0);
    unlink(name);
    CHECK_EQ(write(fd, template, sizeof template), sizeof template);
    return fd;
}

static void race(void *arg)
{
    int fd = *(bool *)arg ? file_make() : -1;
    pthread_t t[THREADS];

    pthread_barrier_init(&barrier, NULL, THREADS + 1);
    for (unsigned i = 0; i < THREADS; i++)
        CHECK(pthread_create(&t[i], NULL, racer, (void *)(uintptr_t)i) == 0);
    for (unsigned c = 0; c < COPIES; c++) {
        char *p = copy_map(fd);
        CHECK(p != MAP_FAILED);
        copy = p;
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        CHECK(munmap(p, sizeof template) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
}

static void race_rounds(bool file)
{
    const char *env = getenv("PATCHRACE_ROUNDS");
    unsigned long rounds = env ? strtoul(env, NULL, 0) : 40000;
    const unsigned long each = (unsigned long)THREADS * ROUNDS_A_SITE * COUNT * COPIES;

    template_fill();
    for (unsigned long done = 0; done < rounds / 2; done += each)
        CHECK_EQ(guest_wait(guest_fork(race, &file)), 0);
}

static void case_memory(void)
{
    race_rounds(false);
}

static void case_file(void)
{
    race_rounds(true);
}

static const struct guest_case cases[] = {{"memory", case_memory}, {"file", case_file}};
GUEST_MAIN(cases)
