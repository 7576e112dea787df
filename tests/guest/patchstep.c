/* SPDX-License-Identifier: Apache-2.0
 * patchstep.c - a program that steps itself (sets the trap flag with popf) over call sites of every
 * shape: each stop is at an address of the site, and the sequence of stops is the processor's own,
 * before the site has been changed and after, however often it runs. */
#include <ucontext.h>

#include "patchsites.h"

#define TF 0x100ULL
#define STOPS_MAX 64u

static struct stops {
    unsigned count;
    uint32_t offset[STOPS_MAX];
} * stops;
static uint64_t base;

static void on_step(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uint64_t rip = (uint64_t)uc->uc_mcontext.gregs[REG_RIP], at = rip - base;

    (void)sig;
    CHECK_EQ(info->si_code, TRAP_TRACE);
    if (at < SITE_SIZE && stops->count < STOPS_MAX)
        stops->offset[stops->count++] = (uint32_t)at;
    else if (at >= SITE_SIZE && at < 4096)
        guest_equal(__FILE__, __LINE__, "a stop beside the site", (long)at, 0);
}

/* Calls @entry with the trap flag set from the instruction before the call on. */
long step_run(long nr, long fd, const void *entry);
__asm__(".text\n.p2align 4\nstep_run:\npush %rbx\nmov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%r11\n"
        "mov $1,%edx\nmov $1,%r10d\nxor %esi,%esi\npushf\norq $0x100,(%rsp)\npopf\ncall *%r11\n"
        "pushf\nandq $~0x100,(%rsp)\npopf\npop %rbx\nret\n");

/* The shapes whose arguments step_run() gives. */
static bool suits(const struct site *s)
{
    return s->kind == SITE_SEEK || s->kind == SITE_R10;
}

static char page[4096];

/* A copy of @s that nobody has run; in memory, or in a file's text. */
static char *copy_fresh(const struct site *s, int fd)
{
    char *p;

    memset(page, 0x90, sizeof page);
    memcpy(page + 1024, s->begin, (size_t)(s->end - s->begin));
    if (fd >= 0) {
        CHECK_EQ(pwrite(fd, page, sizeof page, 0), sizeof page);
        p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    } else {
        p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    CHECK(p != MAP_FAILED);
    if (fd < 0) {
        memcpy(p, page, sizeof page);
        CHECK(mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0);
    }
    return p + 1024;
}

static void copy_drop(const char *at)
{
    CHECK(munmap((void *)(uintptr_t)(at - 1024), 4096) == 0);
}

static void step_once(const struct site *s, const char *at, int fd, long want, struct stops *into)
{
    *into = (struct stops){0};
    stops = into;
    base = (uint64_t)(uintptr_t)at;
    GUEST_REREAD();
    long r = step_run(8, fd, at);
    if (r != want)
        guest_equal(s->name, 0, "result", r, want);
}

static void same(const struct site *s, const struct stops *a, const struct stops *b, int run)
{
    bool equal =
        a->count == b->count && !memcmp(a->offset, b->offset, a->count * sizeof a->offset[0]);

    if (equal)
        return;
    fprintf(stderr, "%s, run %d:", s->name, run);
    for (unsigned i = 0; i < a->count; i++)
        fprintf(stderr, " %u", a->offset[i]);
    fprintf(stderr, " not");
    for (unsigned i = 0; i < b->count; i++)
        fprintf(stderr, " %u", b->offset[i]);
    fprintf(stderr, "\n");
    _exit(1);
}

/* What a processor does: it stops before each instruction but, it may be, the one behind the call
 * (the flag comes back with sysret). */
static void expected(const struct site *s, struct stops *ret, bool behind)
{
    static const struct {
        const char *name;
        uint8_t at[12];
    } known[] = {{"imm", {0, 5, 7, 255}},
                 {"imm_late", {0, 5, 10, 12, 255}},
                 {"cancel", {0, 5, 7, 13, 15, 255}},
                 {"musl", {0, 5, 8, 10, 255}},
                 {"go", {0, 3, 6, 8, 14, 0, 255}}};
    size_t after = site_call_offset(s) + 2;

    *ret = (struct stops){0};
    for (unsigned i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, s->name))
            continue;
        for (unsigned k = 0; known[i].at[k] != 255; k++) {
            uint32_t at = known[i].at[k];
            if (k && !at) /* the jump's target: 16-aligned behind it */
                at = (uint32_t)((known[i].at[k - 1] + 3 + 15) & ~15u);
            if (at != after || behind)
                ret->offset[ret->count++] = at;
        }
    }
}

static void steps(const struct site *s, int fd, long want, bool behind, int text)
{
    struct site_thread t = {.seek_fd = fd, .offset = want};
    struct stops got, native;
    const char *at = copy_fresh(s, text);

    expected(s, &native, behind);
    CHECK(native.count > 0);
    for (int i = 0; i < 60; i++) {
        step_once(s, at, fd, want, &got);
        same(s, &got, &native, i);
        for (int k = 0; k < i; k++) /* and plainly, so that it is changed in any case */
            site_check(s, at, &t);
        if (text >= 0 && i % 20 == 19) { /* a mapping made when the site is known */
            copy_drop(at);
            at = copy_fresh(s, text);
        }
    }
    copy_drop(at);
}

/* Does this processor stop between a call and the instruction behind it? */
static bool stops_behind(int fd, long want)
{
    struct stops got;
    const struct site *s = &sites[0];
    const char *at = copy_fresh(s, -1);
    bool behind = false;

    step_once(s, at, fd, want, &got);
    for (unsigned i = 0; i < got.count; i++)
        behind |= got.offset[i] == site_call_offset(s) + 2;
    copy_drop(at);
    return behind;
}

static int file_new(void)
{
    char name[] = "/tmp/patchstep.XXXXXX";
    int fd = mkstemp(name);

    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

static void steps_all(bool in_file)
{
    struct sigaction sa = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
    int fd = file_new();

    CHECK_EQ(lseek(fd, 77, SEEK_SET), 77);
    CHECK(sigaction(SIGTRAP, &sa, NULL) == 0);
    bool behind = stops_behind(fd, 77);
    for (unsigned i = 0; i < SITES; i++) {
        int text = in_file ? file_new() : -1;
        if (suits(&sites[i]))
            steps(&sites[i], fd, 77, behind, text);
        if (text >= 0)
            close(text);
    }
    close(fd);
}

static void case_memory(void)
{
    steps_all(false);
}

static void case_file(void)
{
    steps_all(true);
}

static const struct guest_case cases[] = {{"memory", case_memory}, {"file", case_file}};
GUEST_MAIN(cases)
