/* SPDX-License-Identifier: Apache-2.0
 * trap_reuse_test.c - host processes and threads that serve again: nothing of the guest before may
 * remain, and who only claims to have ended serves nobody. */
#include "trap_world.h"

/* As the kernel ends a process. */
static void world_release(struct world *w)
{
    pf->as_release(w->as);
    memfile_free(mf, w->data_off, DATA_LEN);
}

static void nap(unsigned ms)
{
    struct timespec ts = {0, (long)ms * 1000000};
    nanosleep(&ts, NULL);
}

static void process_again(void **state)
{
    unsigned again = 0;
    struct pf_as *last = NULL;
    (void)state;

    for (uint64_t n = 1; n <= 100; n++) {
        struct world w = world_new();
        again += w.as == last;
        /* the memory of the one before is gone, thread pointer and registers are what was asked */
        struct pf_thread *t = thread_start(&w, guest_load, (struct pf_regs){.rdi = 0xa00000 + n});
        struct pf_event e = expect(t, PF_EVENT_FAULT);
        assert_int_equal(e.addr, 0xa00000 + n);
        struct pf_regs r;
        pf->thread_get_regs(t, &r);
        assert_int_equal(r.rbx, 0);
        assert_int_equal(r.r15, 0);
        r.rbx = r.r15 = n;
        r.rip = entry(guest_echo);
        pf->thread_set_regs(t, &r);
        struct pf_memop op = map(0xa00000, 0x10000, PROT_READ | PROT_WRITE, w.data_off);
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        op = map(STUB_RINGS, 0x1000, PROT_READ | PROT_WRITE, w.data_off);
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        resume(t);
        expect_call(t, 500);
        if (n % 3 == 0)
            assert_true(pf->thread_cpu_ns(t) < 1000000000);
        finish(t);
        last = w.as;
        world_release(&w);
        nap(1);
    }
    assert_true(again > 50);
}

/* The alternate stacks of the guest before are memory of the next one. */
static void lanes_are_clean(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 20; n++) {
        struct world w = world_new();
        struct pf_thread *t = thread_start(&w, guest_echo, (struct pf_regs){0});
        expect_call(t, 500);
        const uint64_t *lane = (const uint64_t *)pf->thread_lane(t);
        unsigned seen = 0;
        for (size_t i = 0; i < LANE_SIZE / 8; i++)
            seen += lane[i] >> 16 == 0x5ec2e7;
        assert_int_equal(seen, 0);
        struct pf_regs r;
        pf->thread_get_regs(t, &r);
        r.r14 = (0x5ec2e7ULL << 16) + n;
        pf->thread_set_regs(t, &r);
        reply(t, 0);
        expect_call(t, 500);
        finish(t);
        world_release(&w);
        nap(1);
    }
}

static void thread_again(void **state)
{
    struct world w = world_new();
    struct pf_thread *first = thread_start(&w, guest_echo, (struct pf_regs){0});
    uint64_t tls = DATA + 0x100;
    (void)state;

    expect_call(first, 500);
    for (uint64_t n = 0; n < 200; n++) {
        *(uint64_t *)(w.data + 0x100) = n;
        struct pf_thread *t = thread_start(&w, guest_tls, (struct pf_regs){.fs_base = tls});
        assert_int_equal(expect_call(t, 600).args[0], n);
        assert_true(pf->thread_lane_addr(t) < STUB_LANES + 8 * LANE_SIZE);
        finish(t);
        reply(first, 0);
        expect_call(first, 500);
    }
    finish(first);
    world_release(&w);
}

/* A guest that posts its end itself and runs on: its process must not serve anybody. */
static void liar(void **state)
{
    struct world w = world_new();
    struct pf_as *as = w.as;
    struct pf_thread *t = thread_start(
        &w, guest_lie,
        (struct pf_regs){.rdi = STUB_LANES, .rsi = SIGSYS, .rdx = STUB_LANES + 0x5000});
    struct pf_event e;
    (void)state;

    assert_true(event_wait(t, &e));
    finish(t);
    world_release(&w);
    for (unsigned n = 0; n < 8; n++) {
        struct world v = world_new();
        assert_ptr_not_equal(v.as, as);
        t = thread_start(&v, guest_echo, (struct pf_regs){0});
        expect_call(t, 500);
        finish(t);
        world_release(&v);
        nap(20);
    }
}

/* Parking is asked for; who comes unasked is killed, and nobody else. */
static void unasked(void **state)
{
    NEEDS_POSTS();
    struct world w = world_new(), v = world_new();
    struct pf_thread *u = thread_start(&v, guest_echo, (struct pf_regs){0});
    (void)state;

    expect_call(u, 500);
    for (unsigned n = 0; n < 3; n++) {
        struct pf_thread *t =
            thread_start(&w, guest_jump,
                         (struct pf_regs){.rdi = stub_addr(stub_park_ip) - 2, .rax = STUB_NR_PARK});
        struct pf_memop op = map(0xa00000, 0x1000, PROT_READ, w.data_off);
        struct pf_event e;
        int64_t end = now_ms() + 5000;
        do {
            assert_true(now_ms() < end);
            struct world x = world_new(); /* somebody listens */
            world_free(&x);
            (void)pf->as_run(w.as, &op, 1, NULL);
        } while (!pf->thread_event(t, &e));
        assert_int_equal(e.kind, PF_EVENT_DIED);
        finish(t);
        world_release(&w);
        w = world_new();
        reply(u, 0);
        expect_call(u, 500);
    }
    finish(u);
    world_release(&v);
    world_free(&w);
}

static void with_other_threads(void **state)
{
    struct world w = world_new();
    struct pf_thread *t[8];
    (void)state;

    for (unsigned i = 0; i < 8; i++)
        t[i] = thread_start(&w, guest_echo, (struct pf_regs){0});
    for (unsigned i = 0; i < 8; i++) {
        expect_call(t[i], 500);
        finish(t[i]);
    }
    world_release(&w); /* more threads than are kept: killed */
    for (unsigned i = 0; i < 8; i++) {
        struct world v = world_new();
        t[0] = thread_start(&v, guest_echo, (struct pf_regs){0});
        expect_call(t[0], 500);
        finish(t[0]);
        world_free(&v);
    }
}

static void descriptors(void **state)
{
    char path[] = "/tmp/trap_reuse_XXXXXX";
    int fd = mkstemp(path);
    (void)state;

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, 0x1000), 0);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    for (unsigned n = 0; n < 40; n++) {
        struct world w = world_new();
        uint64_t key = 1 + n / 2;
        int slot = pf->fd_donate(w.as, fd, key);
        assert_true(slot > PF_FD_MEMFILE);
        if (pf->post_addr)                         /* else one descriptor serves all */
            assert_false(pf->fd_known(w.as, key)); /* in use */
        struct pf_memop op = {
            .op = PF_MAP, .prot = PROT_READ, .fd = slot, .addr = 0xa00000, .len = 0x1000};
        assert_int_equal(pf->as_run(w.as, &op, 1, NULL), 0);
        struct pf_thread *t = thread_start(&w, guest_load, (struct pf_regs){.rdi = 0xa00000});
        assert_int_equal(expect_call(t, 600).args[0] & 0xff, 'x');
        int other = pf->fd_donate(w.as, fd, 0);
        assert_true(other > PF_FD_MEMFILE && other != slot);
        pf->fd_drop(w.as, other);
        pf->fd_drop(w.as, slot);
        assert_true(pf->fd_known(w.as, key));
        assert_false(pf->fd_known(w.as, 0));
        finish(t);
        world_release(&w);
        nap(1);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(process_again), cmocka_unit_test(lanes_are_clean),
        cmocka_unit_test(thread_again),  cmocka_unit_test(liar),
        cmocka_unit_test(unasked),       cmocka_unit_test(with_other_threads),
        cmocka_unit_test(descriptors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
