/* SPDX-License-Identifier: Apache-2.0
 * trap_hostile_test.c - guests that lie, processes that die, many pollers. */
#include "trap_world.h"

#include <dirent.h>
#include <pthread.h>

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
        /* where nobody posts, all of it is a lie */
        expect(t, c[i].signo == SIGSEGV && pf->post_addr ? PF_EVENT_EXCEPTION : PF_EVENT_VIOLATION);
        assert_int_equal(pf->thread_get_fpu(t, fpu, sizeof fpu), 0);
        assert_int_equal(pf->thread_set_fpu(t, fpu, sizeof fpu), -EINVAL);
        pf->thread_get_regs(t, &r);
        world_free(&w);
        pf->thread_destroy(t);
    }
    if (!pf->post_addr)
        return;
    /* an interrupt nobody asked for is answered and not reported */
    struct world w = world_new();
    struct pf_event e;
    unsigned quiet = 0;
    struct pf_thread *t = thread_start(
        &w, guest_lie,
        (struct pf_regs){.rdi = STUB_LANES, .rsi = SIGUSR1, .rdx = STUB_LANES + LANE_STACK});
    const struct lane_slot *slot = &pf->thread_lane(t)->event;
    for (int64_t end = now_ms() + 3000; now_ms() < end;) {
        assert_false(pf->thread_event(t, &e));
        if (ring_read64(&slot->aux) && atomic_load(&slot->state) == SLOT_FREE && ++quiet > 1000)
            break; /* aux is written before state: both may lie a little apart */
    }
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

/* rt_sigreturn from a frame of the guest's making: signal stack in its own memory, all signals
 * blocked, garbage as extended state. Ends that process, or is a violation, or its own business. */
static void frames_of_the_guest(void **state)
{
    NEEDS_POSTS();
    struct frame {
        uint64_t flags, link, sp, ss_flags, size, regs[18], segments, rest[4], fpstate, pad[8],
            mask;
    };
    static_assert(offsetof(struct frame, mask) == 296, "ucontext");
    (void)state;

    for (unsigned i = 0; i < 5; i++) {
        struct world w = world_new();
        struct frame *f = (struct frame *)(void *)w.data;
        struct pf_event e;
        memset(f, 0, sizeof *f);
        f->flags = 6;
        f->segments = 0x33 | 0x2bULL << 48;
        f->regs[16] = entry(guest_echo);
        f->regs[17] = 0x202;
        f->sp = i == 1 ? DATA + 0x2000 : STUB_LANES + LANE_STACK; /* 1: in its own memory */
        f->size = 0x4000;
        if (i == 2)
            f->mask = ~0ULL; /* SIGSYS blocked: the next call ends it */
        if (i == 3) {
            f->flags = 7;
            f->fpstate = DATA + 0x4000;
            memset(w.data + 0x4000, 0xff, 4096);
        }
        if (i == 4)
            f->segments = ~0ULL;
        struct pf_regs regs = {
            .rip = entry(guest_sigreturn), .rdi = DATA, .rsi = stub_addr(stub_restorer) + 5};
        struct pf_thread *t;
        int r = pf->thread_create(w.as, &regs, NULL, 0, &t);
        if (r) { /* it ended its process before the mapper could tell of its birth */
            assert_true(i > 0 && r == -ESRCH);
            world_free(&w);
            continue;
        }
        struct pf_memop op = map(0x10000000, 0x1000, PROT_READ, code_off);
        int64_t end = now_ms() + 50;
        while (now_ms() < end && !pf->thread_event(t, &e))
            sched_yield();
        r = pf->as_run(w.as, &op, 1, NULL);
        assert_true(r == 0 || (i > 0 && r == -ESRCH));
        if (i == 2)
            assert_int_equal(r, -ESRCH);
        world_free(&w);
        pf->thread_destroy(t);
    }
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
        int slot = pf->fd_donate(w.as, fd, 0);
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
    void *r[3];
    (void)state;

    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&th[i], NULL, pump, NULL), 0);
    for (unsigned i = 0; i < 3; i++) /* all, before one's failure ends the world of the others */
        pthread_join(th[i], &r[i]);
    for (unsigned i = 0; i < 3; i++)
        assert_ptr_equal(r[i], NULL);
}

/* A poller that sleeps is woken by the guest's bell. */
static void doorbell(void **state)
{
    struct world w = world_new();
    struct ring_poller_word *word = &pf->poller_words()[3];
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
    if (!pf->post_addr) {
        finish(t);
        world_free(&w);
        return;
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(liars),
        cmocka_unit_test(frames_of_the_guest),
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
