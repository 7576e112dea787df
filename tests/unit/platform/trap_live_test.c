/* SPDX-License-Identifier: Apache-2.0
 * trap_live_test.c - the trap platform with guests of a few instructions (trap_guest.S). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
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
#include <trap/trap.h>

extern const uint8_t guest_start[], guest_end[], guest_echo[], guest_load[], guest_store[],
    guest_spin[], guest_int80[], guest_uretprobe[], guest_vsyscall[], guest_jump[], guest_tls[],
    guest_count[], guest_call[], guest_ud2[], guest_int3[], guest_gp[], guest_div[], guest_lie[],
    guest_xmm[];

#define CODE 0x400000ULL
#define DATA 0x800000ULL
#define DATA_LEN 0x10000ULL

static const struct platform_ops *pf;
static struct memfile *mf;
static uint64_t code_off;

struct world {
    struct pf_as *as;
    uint64_t data_off;
    char *data;
};

static uint64_t entry(const uint8_t *p)
{
    return CODE + (uint64_t)(p - guest_start);
}

static struct pf_memop map(uint64_t addr, uint64_t len, int prot, uint64_t off)
{
    return (struct pf_memop){
        .op = PF_MAP, .prot = prot, .flags = PF_MAP_POPULATE, .addr = addr, .len = len, .off = off};
}

static struct world world_new(void)
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

static void world_free(struct world *w)
{
    pf->as_destroy(w->as);
    memfile_free(mf, w->data_off, DATA_LEN);
}

static struct pf_thread *thread_start(struct world *w, const uint8_t *at, struct pf_regs regs)
{
    struct pf_thread *t;

    regs.rip = entry(at);
    regs.rsp = DATA + DATA_LEN - 0x1000;
    assert_int_equal(pf->thread_create(w->as, &regs, NULL, 0, &t), 0);
    return t;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* False after 3 s. */
static bool event_wait(struct pf_thread *t, struct pf_event *e)
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

static struct pf_event expect(struct pf_thread *t, uint32_t kind)
{
    struct pf_event e;

    assert_true(event_wait(t, &e));
    assert_int_equal(e.kind, kind);
    return e;
}

static struct pf_event expect_call(struct pf_thread *t, uint32_t nr)
{
    struct pf_event e = expect(t, PF_EVENT_SYSCALL);

    assert_int_equal(e.nr, nr);
    return e;
}

static void reply(struct pf_thread *t, uint64_t val)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RET, .val = val});
}

static void resume(struct pf_thread *t)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RESUME});
}

static void finish(struct pf_thread *t)
{
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_EXIT});
    pf->thread_destroy(t);
}

static void calls_and_registers(void **state)
{
    struct world w = world_new();
    struct pf_regs out, in = {.r8 = 8,
                              .r9 = 9,
                              .r12 = 12,
                              .r15 = 15,
                              .rdi = 1,
                              .rbp = 0x55,
                              .eflags = 1 | 0x400,
                              .fs_base = DATA};
    struct pf_thread *t = thread_start(&w, guest_echo, in);
    (void)state;

    for (uint64_t i = 0; i < 1000; i++) {
        struct pf_event e = expect_call(t, 500);
        assert_int_equal(e.args[0], 1 + i);
        assert_int_equal(e.args[4], 8);
        assert_int_equal(e.args[5], 9);
        assert_int_equal(e.rip, entry(guest_echo) + 7);
        pf->thread_get_regs(t, &out);
        assert_int_equal(out.rbp, 0x55);
        assert_int_equal(out.r12, 12);
        assert_int_equal(out.r15, 15);
        assert_int_equal(out.rip, e.rip);
        if (out.fs_base)
            assert_int_equal(out.fs_base, DATA);
        if (i % 100 == 10) /* parked by now */
            usleep(5000);
        reply(t, i);
    }
    expect_call(t, 500);
    finish(t);
    world_free(&w);
}

static void resume_sets_registers(void **state)
{
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
    struct pf_regs r;
    (void)state;

    expect_call(t, 500);
    pf->thread_get_regs(t, &r);
    r.rip = entry(guest_call);
    r.rax = 77;
    r.rdi = 0xd1;
    r.eflags = ~0ULL & ~0x100ULL; /* IOPL, VM and the like are not the guest's to have */
    pf->thread_set_regs(t, &r);
    resume(t);
    assert_int_equal(expect_call(t, 77).args[0], 0xd1);
    pf->thread_get_regs(t, &r);
    assert_int_equal(r.eflags & 0x27000, 0);
    reply(t, 5);
    assert_int_equal(expect_call(t, 600).args[0], 5);
    finish(t);
    world_free(&w);
}

static void faults(void **state)
{
    struct world w = world_new();
    struct pf_thread *t =
        thread_start(&w, guest_store, (struct pf_regs){.rdi = 0x900008, .rsi = 7});
    (void)state;

    struct pf_event e = expect(t, PF_EVENT_FAULT);
    assert_int_equal(e.signo, SIGSEGV);
    assert_int_equal(e.addr, 0x900008);
    assert_int_equal(e.access, PF_ACCESS_WRITE);
    struct pf_memop op = map(0x900000, 0x1000, PROT_READ, w.data_off);
    assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
    resume(t);
    e = expect(t, PF_EVENT_FAULT); /* present, not writable */
    assert_int_equal(e.si_code, SEGV_ACCERR);
    op = (struct pf_memop){.op = PF_PROTECT, .prot = 3, .addr = 0x900000, .len = 0x1000};
    assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
    resume(t);
    assert_int_equal(expect_call(t, 600).args[0], 7);
    assert_int_equal(*(uint64_t *)(void *)(w.data + 8), 7);
    finish(t);

    t = thread_start(&w, guest_load, (struct pf_regs){.rdi = 0xa00000});
    assert_int_equal(expect(t, PF_EVENT_FAULT).access, PF_ACCESS_READ);
    finish(t);
    t = thread_start(&w, guest_jump, (struct pf_regs){.rdi = DATA + 0x10});
    e = expect(t, PF_EVENT_FAULT);
    assert_int_equal(e.access, PF_ACCESS_EXEC);
    assert_int_equal(e.addr, DATA + 0x10);
    finish(t);
    world_free(&w);
}

static void exceptions(void **state)
{
    static const struct {
        const uint8_t *at;
        int signo;
    } c[] = {{guest_ud2, SIGILL}, {guest_int3, SIGTRAP}, {guest_gp, SIGSEGV}, {guest_div, SIGFPE}};
    struct world w = world_new();
    (void)state;

    for (size_t i = 0; i < 4; i++) {
        struct pf_thread *t = thread_start(&w, c[i].at, (struct pf_regs){0});
        assert_int_equal(expect(t, PF_EVENT_EXCEPTION).signo, c[i].signo);
        finish(t);
    }
    world_free(&w);
}

static void odd_calls(void **state)
{
    struct world w = world_new();
    struct pf_event e;
    struct pf_regs r;
    (void)state;

    struct pf_thread *t = thread_start(&w, guest_call, (struct pf_regs){.rax = 0x40000027});
    expect_call(t, 0x40000027);
    reply(t, (uint64_t)-ENOSYS);
    assert_int_equal((int64_t)expect_call(t, 600).args[0], -ENOSYS);
    finish(t);

    t = thread_start(&w, guest_uretprobe, (struct pf_regs){.rdi = 3});
    assert_int_equal(expect_call(t, 335).args[0], 3);
    reply(t, (uint64_t)-ENOSYS);
    assert_int_equal((int64_t)expect_call(t, 600).args[0], -ENOSYS);
    finish(t);

    t = thread_start(&w, guest_int80, (struct pf_regs){.rax = 20});
    assert_true(event_wait(t, &e)); /* a call of another ABI, or #GP where the host has none */
    if (e.kind == PF_EVENT_SYSCALL)
        assert_int_equal(e.nr, UINT32_MAX);
    else
        assert_int_equal(e.kind, PF_EVENT_EXCEPTION);
    finish(t);

    t = thread_start(&w, guest_vsyscall, (struct pf_regs){0});
    assert_true(event_wait(t, &e));
    if (e.kind == PF_EVENT_SYSCALL) { /* else the host has no vsyscall page */
        assert_int_equal(e.nr, SYS_time);
        pf->thread_get_regs(t, &r);
        assert_in_range(r.rip, CODE, CODE + 0x1000);
        assert_int_equal(r.rsp, DATA + DATA_LEN - 0x1000);
        reply(t, 1234);
        assert_int_equal(expect_call(t, 600).args[0], 1234);
    } else {
        print_message("no vsyscall page\n");
    }
    finish(t);
    world_free(&w);
}

/* Every syscall instruction of the stub, with numbers that would hurt. */
static void jumps_into_the_stub(void **state)
{
    static const uint64_t nrs[] = {SYS_mmap,       SYS_kill,  SYS_open,  SYS_clone,  SYS_exit_group,
                                   STUB_NR_NOTIFY, SYS_write, SYS_prctl, SYS_seccomp};
    struct world w = world_new();
    unsigned tried = 0;
    (void)state;

    for (const uint8_t *p = stub_start; p + 1 < stub_end; p++) {
        if (p[0] != 0x0f || p[1] != 0x05)
            continue;
        for (size_t i = 0; i < sizeof nrs / sizeof *nrs; i++) {
            struct pf_thread *t =
                thread_start(&w, guest_jump, (struct pf_regs){.rdi = stub_addr(p), .rax = nrs[i]});
            expect_call(t, UINT32_MAX);
            finish(t);
            tried++;
        }
    }
    assert_true(tried > 50);
    struct pf_memop op = map(0x10000000, 0x1000, PROT_READ, code_off);
    assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
    world_free(&w);
}

static void stub_is_read_only(void **state)
{
    static const uint64_t at[] = {STUB_TEXT, STUB_REQ, STUB_RO, STUB_GLOBALS};
    struct world w = world_new();
    (void)state;

    for (size_t i = 0; i < 4; i++) {
        struct pf_thread *t = thread_start(&w, guest_store, (struct pf_regs){.rdi = at[i]});
        assert_int_equal(expect(t, PF_EVENT_FAULT).access, PF_ACCESS_WRITE);
        finish(t);
    }
    world_free(&w);
}

static void interrupted(void **state)
{
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_count, (struct pf_regs){.rdi = DATA});
    (void)state;

    for (unsigned i = 0; i < 20; i++) {
        pf->thread_interrupt(t);
        pf->thread_interrupt(t);
        expect(t, PF_EVENT_INTERRUPTED);
        resume(t);
    }
    assert_true(pf->thread_cpu_ns(t) > 0);
    pf->thread_interrupt(t);
    expect(t, PF_EVENT_INTERRUPTED);
    finish(t);
    world_free(&w);
}

static void takes_from_itself(void **state)
{
    static const uint32_t ops[] = {PF_SELF_PROTECT_NONE, PF_SELF_UNMAP, PF_SELF_POPULATE};
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
    (void)state;

    for (unsigned i = 0; i < 3; i++) {
        expect_call(t, 500);
        pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RET,
                                               .self_op = ops[i],
                                               .self_addr = DATA + i * 0x1000,
                                               .self_len = 0x1000});
    }
    expect_call(t, 500);
    finish(t);
    for (unsigned i = 0; i < 3; i++) {
        t = thread_start(&w, guest_load, (struct pf_regs){.rdi = DATA + i * 0x1000});
        struct pf_event e = expect(t, i < 2 ? PF_EVENT_FAULT : PF_EVENT_SYSCALL);
        if (i < 2)
            assert_int_equal(e.si_code, i ? SEGV_MAPERR : SEGV_ACCERR);
        finish(t);
    }
    world_free(&w);
}

static void thread_pointer(void **state)
{
    struct world w = world_new();
    struct pf_regs r;
    (void)state;

    *(uint64_t *)(void *)w.data = 0x1111;
    *(uint64_t *)(void *)(w.data + 64) = 0x2222;
    struct pf_thread *t = thread_start(&w, guest_tls, (struct pf_regs){.fs_base = DATA});
    assert_int_equal(expect_call(t, 600).args[0], 0x1111);
    pf->thread_get_regs(t, &r);
    r.rip = entry(guest_tls);
    pf->thread_set_regs(t, &r);
    pf->thread_reply(
        t, &(struct pf_reply){.kind = PF_REPLY_RESUME, .set_fs = true, .fs_base = DATA + 64});
    assert_int_equal(expect_call(t, 600).args[0], 0x2222);
    finish(t);
    world_free(&w);
}

/* A fork's child: registers and extended state of its parent. */
static void extended_state(void **state)
{
    struct world w = world_new(), v = world_new();
    struct pf_thread *t = thread_start(&w, guest_xmm, (struct pf_regs){.rbx = 0xb}), *u;
    _Alignas(64) uint8_t fpu[PF_FPU_MAX];
    struct pf_regs r;
    const uint64_t magic = 0x0123456789abcdef;
    uint32_t host_size;
    (void)state;

    expect_call(t, 700);
    size_t len = pf->thread_get_fpu(t, fpu, sizeof fpu);
    memcpy(&host_size, fpu + 468, 4); /* extended_size as the host wrote it */
    assert_int_equal(len, host_size);
    memcpy(fpu + 160, &magic, 8); /* xmm0 */
    fpu[512] |= 3;
    assert_int_equal(pf->thread_set_fpu(t, fpu, len), 0);
    assert_int_equal(pf->thread_set_fpu(t, fpu, len - 1), -EINVAL);
    pf->thread_get_regs(t, &r);
    fpu[24] = fpu[25] = fpu[26] = 0xff; /* mxcsr nobody can load */
    assert_int_equal(pf->thread_create(v.as, &r, fpu, len, &u), 0);
    reply(t, 0);
    assert_int_equal(expect_call(t, 600).args[0], magic);
    assert_int_equal(expect_call(u, 600).args[0], magic);
    pf->thread_get_regs(u, &r);
    assert_int_equal(r.rbx, 0xb);
    finish(t);
    finish(u);
    world_free(&w);
    world_free(&v);
}

static void two_threads_two_spaces(void **state)
{
    struct world w[2] = {world_new(), world_new()};
    struct pf_thread *t[4];
    (void)state;

    for (unsigned i = 0; i < 4; i++)
        t[i] = thread_start(&w[i / 2], guest_echo, (struct pf_regs){.rdi = i * 1000});
    assert_ptr_not_equal(pf->thread_lane(t[0]), pf->thread_lane(t[1]));
    assert_int_equal(pf->thread_lane_addr(t[0]), pf->thread_lane_addr(t[2]));
    for (unsigned n = 0; n < 200; n++)
        for (unsigned i = 0; i < 4; i++) {
            assert_int_equal(expect_call(t[i], 500).args[0], i * 1000 + n);
            reply(t[i], 0);
        }
    for (unsigned i = 0; i < 4; i++) {
        expect_call(t[i], 500);
        finish(t[i]);
    }
    /* lanes of threads that have left are used again */
    for (unsigned n = 0; n < 50; n++) {
        t[0] = thread_start(&w[0], guest_echo, (struct pf_regs){0});
        expect_call(t[0], 500);
        assert_true(pf->thread_lane_addr(t[0]) < STUB_LANES + 8 * LANE_SIZE);
        finish(t[0]);
    }
    world_free(&w[0]);
    world_free(&w[1]);
}

static void liars(void **state)
{
    static const struct {
        uint64_t signo, frame;
    } c[] = {{SIGSYS, 0},
             {SIGSYS, DATA},
             {SIGSYS, STUB_LANES},
             {SIGSYS, STUB_LANES + 4000},
             {SIGSYS, STUB_LANES + LANE_SIZE - 8},
             {SIGSYS, ~0ULL},
             {SIGSYS, STUB_LANES + 4097},
             {99, STUB_LANES + LANE_STACK},
             {SIGSEGV, STUB_LANES + LANE_STACK}}; /* a frame of zeroes: a lie about itself */
    uint8_t fpu[PF_FPU_MAX];
    struct pf_regs r;
    (void)state;

    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        struct world w = world_new();
        struct pf_thread *t =
            thread_start(&w, guest_lie,
                         (struct pf_regs){.rdi = STUB_LANES, .rsi = c[i].signo, .rdx = c[i].frame});
        expect(t, c[i].signo == SIGSEGV ? PF_EVENT_EXCEPTION : PF_EVENT_VIOLATION);
        assert_int_equal(pf->thread_get_fpu(t, fpu, sizeof fpu), 0);
        assert_int_equal(pf->thread_set_fpu(t, fpu, sizeof fpu), -EINVAL);
        pf->thread_get_regs(t, &r);
        world_free(&w);
        pf->thread_destroy(t);
    }
    /* an interrupt nobody asked for is answered and not reported */
    struct world w = world_new();
    struct pf_event e;
    struct pf_thread *t = thread_start(
        &w, guest_lie,
        (struct pf_regs){.rdi = STUB_LANES, .rsi = SIGUSR1, .rdx = STUB_LANES + LANE_STACK});
    for (int64_t end = now_ms() + 20; now_ms() < end;)
        assert_false(pf->thread_event(t, &e));
    assert_int_equal(atomic_load(&pf->thread_lane(t)->event.state), SLOT_FREE);
    world_free(&w);
    pf->thread_destroy(t);
}

static void lists(void **state)
{
    struct world w = world_new();
    size_t done = 99;
    (void)state;

    struct pf_memop op = map(STUB_TEXT, 0x1000, PROT_READ | PROT_WRITE, 0);
    assert_int_equal(pf->as_run(w.as, &op, 1, &done), -EINVAL);
    assert_int_equal(done, 0);
    op = map(STUB_REGION - 0x1000, 0x2000, PROT_READ, 0);
    assert_int_equal(pf->as_run(w.as, &op, 1, NULL), -EINVAL);
    op = map(~0xfffULL, 0x2000, PROT_READ, 0);
    assert_int_equal(pf->as_run(w.as, &op, 1, NULL), -EINVAL);
    struct pf_memop ops[300];
    for (unsigned i = 0; i < 300; i++)
        ops[i] = map(0x10000000 + i * 0x2000, 0x1000, PROT_READ, code_off);
    assert_int_equal(pf->as_run(w.as, ops, 300, &done), 0);
    assert_int_equal(done, 300);
    ops[200].addr = 0x123; /* EINVAL of the host */
    assert_int_equal(pf->as_run(w.as, ops, 300, &done), -EINVAL);
    assert_int_equal(done, 200);
    ops[200] = (struct pf_memop){.op = PF_POPULATE, .prot = 3, .addr = 0x7d0000000000, .len = 4096};
    ops[201] = (struct pf_memop){.op = PF_SYNC};
    assert_int_equal(pf->as_run(w.as, ops, 300, &done), 0);
    assert_int_equal(done, 300);
    world_free(&w);
}

static void donated_files(void **state)
{
    struct world w = world_new();
    (void)state;

    for (unsigned i = 0; i < 40; i++) {
        int fd = memfd_create("donated", MFD_CLOEXEC);
        uint64_t v = 0xd0 + i;
        assert_int_equal(ftruncate(fd, 4096), 0);
        assert_int_equal(pwrite(fd, &v, 8, 0), 8);
        int slot = pf->fd_donate(w.as, fd);
        assert_true(slot > PF_FD_MEMFILE);
        close(fd);
        struct pf_memop op = {
            .op = PF_MAP, .prot = PROT_READ, .fd = slot, .addr = 0x900000, .len = 0x1000};
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        pf->fd_drop(w.as, slot);
        struct pf_thread *t = thread_start(&w, guest_load, (struct pf_regs){.rdi = 0x900000});
        assert_int_equal(expect_call(t, 600).args[0], v);
        finish(t);
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), -EBADF);
    }
    world_free(&w);
}

static unsigned entries(const char *dir)
{
    DIR *d = opendir(dir);
    unsigned n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static unsigned children(void)
{
    static char buf[65536];
    unsigned n = 0;
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)syscall(SYS_gettid));
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    size_t len = fread(buf, 1, sizeof buf, f);
    for (size_t i = 0; i < len; i++)
        n += buf[i] == ' ';
    fclose(f);
    return n;
}

static void no_leaks(void **state)
{
    unsigned fds = 0, kids = 0;
    uint64_t used = 0;
    struct pf_as *as;
    (void)state;

    for (unsigned i = 0; i < 260; i++) {
        if (i == 60) {
            fds = entries("/proc/self/fd");
            kids = children();
            used = memfile_used(mf);
        }
        if (i % 4 == 0) {
            struct world w = world_new();
            struct pf_thread *t = thread_start(&w, guest_spin, (struct pf_regs){0});
            world_free(&w);
            pf->thread_destroy(t);
        } else {
            assert_int_equal(pf->as_create(&as), 0);
            pf->as_destroy(as);
        }
    }
    assert_in_range(entries("/proc/self/fd"), fds - 4, fds + 4); /* the pool breathes */
    assert_in_range(children(), 0, kids + 4);
    assert_in_range(memfile_used(mf), 0, used + (256 << 10));
}

/* The host, or the guest, ends a process in the middle of anything. */
static void killed_at_random(void **state)
{
    unsigned seed = 42;
    (void)state;

    for (unsigned i = 0; i < 60; i++) {
        struct world w = world_new();
        struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0}), *more = NULL;
        struct pf_event e;
        struct pf_memop ops[20];
        struct timespec ts = {0, (rand_r(&seed) % 3000) * 1000};
        int r = 0, pidfd = pf->as_pidfd(w.as);

        pid_t killer = fork();
        if (killer == 0) {
            nanosleep(&ts, NULL);
            syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
            _exit(0);
        }
        for (unsigned k = 0; k < 20; k++)
            ops[k] = map(0x10000000 + k * 0x2000, 0x1000, PROT_READ, code_off);
        while (!r) {
            r = pf->as_run(w.as, ops, 20, NULL);
            if (pf->thread_event(t, &e) && e.kind == PF_EVENT_SYSCALL)
                reply(t, 0);
            struct pf_regs spin = {.rip = entry(guest_spin)};
            if (!r && !more)
                r = pf->thread_create(w.as, &spin, NULL, 0, &more);
        }
        assert_int_equal(r, -ESRCH);
        assert_true(event_wait(t, &e));
        waitpid(killer, NULL, 0);
        pf->as_destroy(w.as);
        pf->thread_destroy(t);
        if (more)
            pf->thread_destroy(more);
        memfile_free(mf, w.data_off, DATA_LEN);
    }
}

/* SIGSTOP interrupts the mapper's call; it must not be taken for dead. */
static void stopped_and_continued(void **state)
{
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
    (void)state;

    for (unsigned i = 0; i < 5; i++) {
        expect_call(t, 500);
        usleep(2000);
        syscall(SYS_pidfd_send_signal, pf->as_pidfd(w.as), SIGSTOP, NULL, 0);
        usleep(2000);
        syscall(SYS_pidfd_send_signal, pf->as_pidfd(w.as), SIGCONT, NULL, 0);
        struct pf_memop op = map(0x10000000, 0x1000, PROT_READ, code_off);
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        reply(t, 0);
    }
    expect_call(t, 500);
    finish(t);
    world_free(&w);
}

static void *pump(void *arg)
{
    (void)arg;
    for (unsigned i = 0; i < 40; i++) {
        struct pf_as *as;
        struct pf_memop ops[4];
        struct pf_thread *t;
        struct pf_regs regs = {.rip = entry(guest_echo)};
        struct pf_event e;
        if (pf->as_create(&as))
            return (void *)1;
        for (unsigned k = 0; k < 4; k++)
            ops[k] = map(CODE + k * 0x1000, 0x1000, PROT_READ | PROT_EXEC, code_off);
        for (unsigned k = 0; k < 10; k++)
            if (pf->as_run(as, ops, 4, NULL))
                return (void *)2;
        if (pf->thread_create(as, &regs, NULL, 0, &t))
            return (void *)3;
        for (unsigned k = 0; k < 20; k++) {
            if (!event_wait(t, &e) || e.kind != PF_EVENT_SYSCALL || e.args[0] != k)
                return (void *)4;
            reply(t, 0);
        }
        pf->as_destroy(as);
        pf->thread_destroy(t);
    }
    return NULL;
}

static void many_pollers(void **state)
{
    pthread_t th[3];
    (void)state;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&th[i], NULL, pump, NULL), 0);
    for (unsigned i = 0; i < 3; i++) {
        void *r;
        pthread_join(th[i], &r);
        assert_ptr_equal(r, NULL);
    }
}

/* A poller that sleeps is woken by the guest's bell. */
static void doorbell(void **state)
{
    struct world w = world_new();
    struct ring_poller_word *word = &trap_poller_words()[3];
    struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
    struct timespec ts = {3, 0};
    struct pf_event e;
    (void)state;

    expect_call(t, 500);
    pf->thread_set_owner(t, 3);
    reply(t, 0);
    for (unsigned i = 0; i < 50; i++) {
        atomic_store(&word->asleep, 1);
        if (!pf->thread_event(t, &e)) {
            long r = syscall(SYS_futex, &word->asleep, 0 /* WAIT */, 1, &ts, NULL, 0);
            assert_true(r == 0 || errno == EAGAIN);
            assert_true(pf->thread_event(t, &e));
        }
        atomic_store(&word->asleep, 0);
        assert_int_equal(e.kind, PF_EVENT_SYSCALL);
        reply(t, 0);
    }
    expect_call(t, 500);
    atomic_store(&pf->thread_lane(t)->guest.doorbell, 0);
    atomic_store(&pf->thread_lane(t)->sentry.demoted, 1);
    reply(t, 0);
    expect_call(t, 500);
    int64_t end = now_ms() + 1000; /* posted first, then rung */
    while (!atomic_load(&pf->thread_lane(t)->guest.doorbell) && now_ms() < end)
        ;
    assert_int_equal(atomic_load(&pf->thread_lane(t)->guest.doorbell), 1);
    finish(t);
    world_free(&w);
}

static int setup(void **state)
{
    (void)state;
    hash_init();
    pf = trap_platform();
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

static int teardown(void **state)
{
    (void)state;
    pf->fini();
    memfile_destroy(mf);
    return waitpid(-1, NULL, WNOHANG | __WALL) == -1 && errno == ECHILD ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_and_registers),
        cmocka_unit_test(resume_sets_registers),
        cmocka_unit_test(faults),
        cmocka_unit_test(exceptions),
        cmocka_unit_test(odd_calls),
        cmocka_unit_test(jumps_into_the_stub),
        cmocka_unit_test(stub_is_read_only),
        cmocka_unit_test(interrupted),
        cmocka_unit_test(takes_from_itself),
        cmocka_unit_test(thread_pointer),
        cmocka_unit_test(extended_state),
        cmocka_unit_test(two_threads_two_spaces),
        cmocka_unit_test(liars),
        cmocka_unit_test(lists),
        cmocka_unit_test(donated_files),
        cmocka_unit_test(no_leaks),
        cmocka_unit_test(killed_at_random),
        cmocka_unit_test(stopped_and_continued),
        cmocka_unit_test(many_pollers),
        cmocka_unit_test(doorbell),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
