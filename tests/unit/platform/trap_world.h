/* SPDX-License-Identifier: Apache-2.0
 * trap_world.h - address spaces and threads for the live tests of the platforms. */
#ifndef TRAP_WORLD_H
#define TRAP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/hash.h>
#include <base/platform.h>
#include <guestlib/stub.h>
#include <host/memfile.h>
#include <ring/slot.h>
#ifdef WORLD_PTRACE
#include <ptrace/ptrace.h>
#define world_platform ptrace_platform
#else
#include <trap/trap.h>
#define world_platform trap_platform
#endif

extern const uint8_t guest_start[], guest_end[], guest_echo[], guest_load[], guest_store[],
    guest_spin[], guest_int80[], guest_uretprobe[], guest_vsyscall[], guest_jump[], guest_tls[],
    guest_count[], guest_call[], guest_ud2[], guest_int3[], guest_gp[], guest_div[], guest_lie[],
    guest_xmm[], guest_posted[], guest_sigreturn[], guest_lost_gs[], guest_function[], guest_soil[],
    guest_state[], guest_dirty[], guest_leave[];

#define CODE 0x400000ULL
#define DATA 0x800000ULL
#define DATA_LEN 0x10000ULL

static const struct platform_ops *pf;
static struct memfile *mf;
static uint64_t code_off;

/* About guest code that posts to its lane; a tracer needs none. */
#define NEEDS_POSTS()       \
    do {                    \
        if (!pf->post_addr) \
            skip();         \
    } while (0)

struct world {
    struct pf_as *as;
    uint64_t data_off;
    char *data;
};

static inline uint64_t entry(const uint8_t *p)
{
    return CODE + (uint64_t)(p - guest_start);
}

static inline struct pf_memop map(uint64_t addr, uint64_t len, int prot, uint64_t off)
{
    return (struct pf_memop){
        .op = PF_MAP, .prot = prot, .flags = PF_MAP_POPULATE, .addr = addr, .len = len, .off = off};
}

static inline struct world world_new(void)
{
    struct world w;
    size_t done;

    assert_int_equal(pf->as_create(&w.as), 0);
    assert_int_equal(memfile_alloc(mf, DATA_LEN, MEMFILE_ANY, &w.data_off), 0);
    w.data = memfile_ptr(mf, w.data_off);
    struct pf_memop ops[2] = {map(CODE, 0x1000, PROT_READ | PROT_EXEC, code_off),
                              map(DATA, DATA_LEN, PROT_READ | PROT_WRITE, w.data_off)};
    assert_int_equal(pf->as_run(w.as, ops, 2, &done), 0);
    assert_int_equal(done, 2);
    return w;
}

static inline void world_free(struct world *w)
{
    pf->as_destroy(w->as);
    memfile_free(mf, w->data_off, DATA_LEN);
}

static inline struct pf_thread *thread_start(struct world *w, const uint8_t *at,
                                             struct pf_regs regs)
{
    struct pf_thread *t;

    regs.rip = entry(at);
    regs.rsp = DATA + DATA_LEN - 0x1000;
    assert_int_equal(pf->thread_create(w->as, &regs, NULL, 0, &t), 0);
    return t;
}

static inline int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False after 3 s. */
static inline bool event_wait(struct pf_thread *t, struct pf_event *e)
{
    int64_t end = now_ms() + 3000;

    for (unsigned i = 0;; i++) {
        if (pf->thread_event(t, e))
            return true;
        if (i % 64 == 63) {
            sched_yield();
            if (now_ms() > end)
                return false;
        }
    }
}

static inline struct pf_event expect(struct pf_thread *t, uint32_t kind)
{
    struct pf_event e;

    assert_true(event_wait(t, &e));
    assert_int_equal(e.kind, kind);
    return e;
}

static inline struct pf_event expect_call(struct pf_thread *t, uint32_t nr)
{
    struct pf_event e = expect(t, PF_EVENT_SYSCALL);

    assert_int_equal(e.nr, nr);
    return e;
}

static inline void reply(struct pf_thread *t, uint64_t val)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RET, .val = val});
}

static inline void resume(struct pf_thread *t)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RESUME});
}

static inline void finish(struct pf_thread *t)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_EXIT});
    pf->thread_destroy(t);
}

static inline int setup(void **state)
{
    (void)state;
    hash_init();
    pf = world_platform();
    if (pf->unavailable()) {
        print_message("skipped: %s\n", pf->unavailable());
        exit(77);
    }
    if (memfile_create(256 << 20, &mf) || memfile_alloc(mf, 0x1000, MEMFILE_ANY, &code_off))
        return -1;
    memcpy(memfile_ptr(mf, code_off), guest_start, (size_t)(guest_end - guest_start));
    int r = pf->init(mf, getenv("TRAP_TEST_CPUS"));
    if (r)
        print_message("init: %s\n", strerror(-r));
    return r;
}

static inline int teardown(void **state)
{
    (void)state;
    pf->fini();
    memfile_destroy(mf);
    return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD ? 0 : -1;
}

#endif
