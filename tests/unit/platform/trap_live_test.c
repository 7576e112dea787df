/* SPDX-License-Identifier: Apache-2.0
 * trap_live_test.c - the trap platform with guests of a few instructions (trap_guest.S). */
#include "trap_world.h"

#include <dlfcn.h>

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
    if (e.kind == PF_EVENT_SYSCALL && e.nr == 600 && !pf->post_addr) {
        print_message("the host answers calls through the vsyscall page itself\n");
    } else if (e.kind == PF_EVENT_SYSCALL) { /* else the host has no vsyscall page */
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
    static const uint32_t ops[] = {PF_SELF_PROTECT_NONE, PF_SELF_UNMAP, PF_SELF_POPULATE,
                                   PF_SELF_PROTECT_READ};
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
    (void)state;

    for (unsigned i = 0; i < 4; i++) {
        expect_call(t, 500);
        pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_RET,
                                               .self_op = ops[i],
                                               .self_addr = DATA + i * 0x1000,
                                               .self_len = 0x1000});
    }
    expect_call(t, 500);
    finish(t);
    for (unsigned i = 0; i < 4; i++) {
        t = thread_start(&w, guest_load, (struct pf_regs){.rdi = DATA + i * 0x1000});
        struct pf_event e = expect(t, i < 2 ? PF_EVENT_FAULT : PF_EVENT_SYSCALL);
        if (i < 2)
            assert_int_equal(e.si_code, i ? SEGV_MAPERR : SEGV_ACCERR);
        finish(t);
    }
    t = thread_start(&w, guest_store, (struct pf_regs){.rdi = DATA + 3 * 0x1000});
    assert_int_equal(expect(t, PF_EVENT_FAULT).si_code, SEGV_ACCERR);
    finish(t);
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
        t, &(struct pf_reply){.kind = PF_REPLY_RESUME, .set_fs = true, .base = DATA + 64});
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

/* False after 3 s. */
static bool call_wait(struct pf_thread *t, struct lane_slot *ret)
{
    struct lane *lane = pf->thread_lane(t);
    int64_t end = now_ms() + 3000;

    for (unsigned i = 0; ring_load_acquire(&lane->call.state) != SLOT_POSTED; i++)
        if (i % 256 == 255) {
            sched_yield();
            if (now_ms() > end)
                return false;
        }
    slot_copy(ret, &lane->call);
    return true;
}

static void call_answer(struct pf_thread *t, uint32_t how, uint64_t val)
{
    struct lane *lane = pf->thread_lane(t);

    if (slot_reply(&lane->call, &lane->guest.call_parked, how, val))
        slot_wake(&lane->call);
}

static void posted_calls(void **state)
{
    NEEDS_POSTS();
    struct world w = world_new();
    struct ring_poller_word *word = &pf->poller_words()[5];
    struct pf_regs regs = {.rdi = 0, .rsi = 0x51, .rdx = 0x52, .r10 = 0x53, .r8 = 0x54, .r9 = 0x55};
    struct pf_thread *t = thread_start(&w, guest_posted, regs);
    struct timespec ts = {3, 0};
    struct lane_slot c;
    struct pf_event e;
    (void)state;

    for (unsigned i = 0; i < 3000; i++) {
        assert_true(call_wait(t, &c));
        assert_int_equal(c.nr, 500);
        assert_int_equal(c.arg[0], i);
        assert_int_equal(c.arg[3], 0x53);
        assert_int_equal(c.arg[5], 0x55);
        assert_false(pf->thread_event(t, &e));
        if (i == 1000)
            pf->thread_set_owner(t, 5);
        if (i % 100 == 50) { /* parked by now */
            usleep(3000);
            assert_int_equal(atomic_load(&pf->thread_lane(t)->guest.call_parked), 1);
        }
        if (i % 10 == 3) { /* slow: the same call comes by trap */
            call_answer(t, CALL_SLOW, 0);
            assert_int_equal(expect_call(t, 500).args[0], i);
            reply(t, 0);
            continue;
        }
        if (i > 1000 && i % 50 == 7) { /* we sleep: the guest rings */
            atomic_store(&word->asleep, 1);
            call_answer(t, CALL_DONE, 0);
            while (atomic_load(&pf->thread_lane(t)->call.state) == SLOT_FREE)
                (void)syscall(SYS_futex, &word->asleep, 0 /* WAIT */, 1, &ts, NULL, 0);
            atomic_store(&word->asleep, 0);
            continue;
        }
        if (i % 100 == 80) { /* an interrupt while the call waits is an event of its own */
            pf->thread_interrupt(t);
            expect(t, PF_EVENT_INTERRUPTED);
            resume(t);
        }
        atomic_store(&pf->thread_lane(t)->sentry.demoted, i % 100 == 90);
        call_answer(t, CALL_DONE, 0);
    }
    assert_true(call_wait(t, &c));
    world_free(&w);
    pf->thread_destroy(t);
}

/* Answers to posted calls that are more than a result, also when an interrupt comes between: what the
 * thread is to do itself is done exactly when it goes on, and its registers are its own. */
static void posted_replies(void **state)
{
    NEEDS_POSTS();
    enum { PAGES = 600 };
    const uint64_t at = 0xa00000;
    struct world w = world_new();
    struct pf_regs regs = {.rdi = 0, .rsi = 0x51, .rdx = 0x52, .r10 = 0x53};
    struct pf_thread *t = thread_start(&w, guest_posted, regs);
    struct lane_slot c;
    struct pf_event e;
    unsigned interrupted = 0;
    (void)state;

    for (unsigned i = 0; i < PAGES; i++) {
        struct pf_memop op = map(at + i * 0x1000, 0x1000, PROT_READ, w.data_off);
        assert_true(call_wait(t, &c));
        assert_int_equal(c.arg[0], i);
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        struct pf_reply r = {
            .posted = true, .self_op = PF_SELF_UNMAP, .self_addr = op.addr, .self_len = op.len};
        if (i % 4 == 3)
            r = (struct pf_reply){.posted = true, .set_fs = true, .base = DATA + 0x100};
        if (i % 3 == 1)
            pf->thread_interrupt(t);
        pf->thread_reply(t, &r);
        if (i % 3 == 2)
            pf->thread_interrupt(t);
        if (i % 3) {
            e = expect(t, PF_EVENT_INTERRUPTED);
            assert_true(e.in_posted_call || (e.rip >= CODE && e.rip < CODE + 0x1000));
            resume(t);
            interrupted++;
        }
    }
    assert_true(call_wait(t, &c));
    pf->thread_reply(t, &(struct pf_reply){.kind = PF_REPLY_EXIT, .posted = true});
    pf->thread_destroy(t);
    assert_int_equal(interrupted, PAGES / 3 * 2);
    t = thread_start(&w, guest_load, (struct pf_regs){.rdi = at});
    for (unsigned i = 0; i < PAGES; i++) {
        if (i % 4 != 3) { /* gone */
            e = expect(t, PF_EVENT_FAULT);
            assert_int_equal(e.addr, at + i * 0x1000);
        } else {
            expect_call(t, 600);
        }
        pf->thread_get_regs(t, &regs);
        regs.rip = entry(guest_load);
        regs.rdi = at + (i + 1) * 0x1000;
        pf->thread_set_regs(t, &regs);
        resume(t);
    }
    assert_true(event_wait(t, &e));
    finish(t);
    world_free(&w);
}

static void lost_base(void **state)
{
    NEEDS_POSTS();
    struct world w = world_new();
    struct pf_thread *t = thread_start(&w, guest_lost_gs, (struct pf_regs){.rdi = 9});
    struct lane_slot c;
    struct pf_event e;
    int64_t end = now_ms() + 3000;
    (void)state;

    while (ring_load_acquire(&pf->thread_lane(t)->call.state) != SLOT_POSTED && now_ms() < end)
        assert_false(pf->thread_event(t, &e)); /* answered inside */
    assert_true(call_wait(t, &c));
    assert_int_equal(c.arg[0], 9);
    call_answer(t, CALL_DONE, 44);
    assert_int_equal(expect_call(t, 600).args[0], 44);
    finish(t);
    world_free(&w);
}

/* The host's vDSO answers in the guest, without a call. */
static void vdso(void **state)
{
    void *lib = dlopen("linux-vdso.so.1", RTLD_NOW | RTLD_NOLOAD);
    void *fn = lib ? dlsym(lib, "__vdso_clock_gettime") : NULL;
    struct world w = world_new();
    struct timespec before, after, *ts = (struct timespec *)(void *)w.data;
    (void)state;

    struct pf_limits limits;
    pf->limits(&limits);
    if (fn && limits.vdso) {
        clock_gettime(CLOCK_MONOTONIC, &before);
        struct pf_thread *t = thread_start(
            &w, guest_function,
            (struct pf_regs){.rax = (uintptr_t)fn, .rdi = CLOCK_MONOTONIC, .rsi = DATA});
        assert_int_equal(expect_call(t, 600).args[0], 0);
        clock_gettime(CLOCK_MONOTONIC, &after);
        assert_in_range(ts->tv_sec, before.tv_sec, after.tv_sec);
        finish(t);
    }
    world_free(&w);
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
        cmocka_unit_test(posted_calls),
        cmocka_unit_test(posted_replies),
        cmocka_unit_test(lost_base),
        cmocka_unit_test(vdso),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
