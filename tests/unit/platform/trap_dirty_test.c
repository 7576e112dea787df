/* SPDX-License-Identifier: Apache-2.0
 * trap_dirty_test.c - guests that prepare a trap for who is served by their host thread next:
 * registers, flags, the trap flag, signal mask, alternate stack, a tid left to somebody else. */
#include <dirent.h>
#include <fcntl.h>

#include "trap_world.h"

/* The kernel's ucontext, in words */
#define UC_FLAGS 0
#define UC_STACK 2
#define UC_REGS 5 /* r8 r9 r10 r11 r12 r13 r14 r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags */
#define UC_SEGMENTS 23
#define UC_SIGMASK 37

#define TRAP_FLAG 0x100ULL
#define STATE_BYTES (128 + 512)

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

static uint64_t sigreturn_insn(void)
{
    return stub_addr(stub_restorer) + 5; /* behind mov $15, %eax */
}

/* A frame at DATA with which a thread comes to the parking instruction. */
static void park_frame(struct world *w, uint64_t stack, uint64_t size, uint64_t flags,
                       uint64_t mask)
{
    uint64_t *uc = (uint64_t *)(void *)w->data;

    uc[UC_FLAGS] = 6;
    uc[UC_STACK] = stack;
    uc[UC_STACK + 2] = size;
    uc[UC_REGS + 13] = STUB_NR_PARK;
    uc[UC_REGS + 15] = DATA + DATA_LEN - 0x100;
    uc[UC_REGS + 16] = stub_addr(stub_park_ip) - 2;
    uc[UC_REGS + 17] = 0x202 | flags;
    uc[UC_SEGMENTS] = 0x33ULL | 0x2bULL << 48;
    uc[UC_SIGMASK] = mask;
}

/* It posts an event by hand, is told to end, and does what it likes. */
static struct pf_thread *forger(struct world *w, const uint8_t *at, uint64_t insn)
{
    struct pf_thread *t = thread_start(
        w, at,
        (struct pf_regs){
            .rdi = STUB_LANES, .rsi = SIGSYS, .rdx = STUB_LANES + 0x5000, .r8 = DATA, .r9 = insn});
    struct pf_event e;

    assert_true(event_wait(t, &e));
    return t;
}

/* Calls, faults and interrupts of an honest guest: its memory and registers stay its own. */
static void honest(struct world *w)
{
    memset(w->data, 0x5a, DATA_LEN);
    struct pf_thread *t = thread_start(w, guest_echo, (struct pf_regs){.rbx = 77});
    struct pf_regs r;

    for (unsigned n = 0; n < 20; n++) {
        struct pf_event e = expect_call(t, 500);
        assert_int_equal(e.args[0], n);
        pf->thread_get_regs(t, &r);
        assert_int_equal(r.rbx, 77);
        assert_int_equal(r.rsp, DATA + DATA_LEN - 0x1000);
        pf->thread_interrupt(t); /* arrives when the call has been answered */
        reply(t, 0);
        e = expect(t, PF_EVENT_INTERRUPTED);
        assert_true(e.rip >= CODE && e.rip < CODE + 0x1000);
        resume(t);
    }
    expect_call(t, 500);
    for (size_t i = 0; i < DATA_LEN; i++)
        assert_int_equal(w->data[i], 0x5a);
    finish(t);
}

static void dirty_signal_state(void **state)
{
    static const struct {
        uint64_t stack, size, flags, mask;
    } dirt[] = {
        {0x1000, 1ULL << 46, 0, 0},         /* each address is on the alternate stack */
        {0x1000, 1ULL << 46, 0, ~0ULL},     /* and all signals blocked */
        {DATA, DATA_LEN, TRAP_FLAG, 0},     /* a trap, its frame in the next guest's memory */
        {DATA, DATA_LEN, TRAP_FLAG, ~0ULL}, /* a trap that ends the process */
        {STUB_LANES, 2 * LANE_SIZE, TRAP_FLAG, 0},
        {STUB_LANES, LANE_SIZE, 0x40400, 0}, /* AC, DF */
        {0, 0, 0, 0},
    };
    (void)state;

    for (unsigned n = 0; n < 4 * sizeof dirt / sizeof *dirt; n++) {
        struct world w = world_new();
        park_frame(&w, dirt[n / 4].stack, dirt[n / 4].size, dirt[n / 4].flags, dirt[n / 4].mask);
        struct pf_thread *t = forger(&w, guest_dirty, sigreturn_insn());
        finish(t);
        if (n % 2)
            nap(2); /* it is there when its memory is taken away, or comes later */
        world_release(&w);
        for (unsigned i = 0; i < 3; i++) {
            nap(2);
            struct world v = world_new();
            honest(&v);
            world_release(&v);
        }
    }
}

/* One life after another begins in the same state, whatever the one before has left. */
static void same_start(void **state)
{
    uint8_t first[STATE_BYTES];
    (void)state;

    for (unsigned n = 0; n < 40; n++) {
        struct world w = world_new();
        struct pf_thread *t = thread_start(&w, guest_state, (struct pf_regs){.rdi = DATA});
        expect_call(t, 600);
        if (!n)
            memcpy(first, w.data, sizeof first);
        assert_memory_equal(first, w.data, sizeof first);
        struct pf_regs r;
        pf->thread_get_regs(t, &r);
        r.rip = entry(guest_soil);
        pf->thread_set_regs(t, &r);
        resume(t);
        expect_call(t, 500);
        finish(t);
        world_release(&w);
        nap(1);
    }
}

/* An interrupt at the very start of a life finds it in its own code. */
static void interrupted_start(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 300; n++) {
        struct world w = world_new();
        struct pf_thread *t = thread_start(&w, guest_spin, (struct pf_regs){.rbx = n});
        struct pf_regs r;

        pf->thread_interrupt(t);
        struct pf_event e = expect(t, PF_EVENT_INTERRUPTED);
        pf->thread_get_regs(t, &r);
        assert_int_equal(e.rip, entry(guest_spin));
        assert_int_equal(r.rbx, n);
        finish(t);
        world_release(&w);
    }
}

static int host_pid(struct world *w)
{
    char path[64], line[128];
    int pid = 0;

    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pf->as_pidfd(w->as));
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        (void)sscanf(line, "Pid: %d", &pid);
    if (f)
        fclose(f);
    return pid;
}

/* The host's number of the only guest thread of @w; 0 when it cannot be found out. */
static pid_t host_tid(struct world *w)
{
    char path[64];
    pid_t tid = 0;

    snprintf(path, sizeof path, "/proc/%d/task", host_pid(w));
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        if (atoi(e->d_name) && atoi(e->d_name) != host_pid(w))
            tid = atoi(e->d_name);
    if (d)
        closedir(d);
    return tid;
}

/* The next thread that anybody makes has number @tid, if it is free. */
static bool next_tid(pid_t tid)
{
    char text[16];
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    int n = snprintf(text, sizeof text, "%d", tid - 1);
    bool ok = fd >= 0 && write(fd, text, (size_t)n) == n;

    if (fd >= 0)
        close(fd);
    return ok;
}

/* Told to park it exits instead, and its number goes to a thread of somebody else, which parks. That
 * one must not be taken for the first. */
static void number_of_another(void **state)
{
    unsigned met = 0;
    (void)state;

    for (unsigned n = 0; n < 20 && met < 3; n++) {
        struct world a = world_new(), c = world_new();
        struct pf_thread *first = thread_start(&c, guest_echo, (struct pf_regs){0}), *t[8];
        struct pf_thread *liar = forger(&a, guest_leave, stub_addr(stub_exit) + 7);
        pid_t tid = host_tid(&a);

        expect_call(first, 500);
        finish(liar);
        world_release(&a);
        nap(2);
        unsigned made = 0;
        bool same = false;
        while (made < 8 && !same && next_tid(tid)) {
            t[made] = thread_start(&c, guest_echo, (struct pf_regs){0});
            expect_call(t[made++], 500);
            char path[64];
            snprintf(path, sizeof path, "/proc/%d/task/%d", host_pid(&c), tid);
            same = access(path, F_OK) == 0;
        }
        met += same;
        while (made)
            finish(t[--made]);
        nap(2);
        struct world b[10]; /* more than are kept */
        for (unsigned i = 0; i < 10; i++) {
            b[i] = world_new();
            nap(1);
        }
        for (unsigned i = 0; i < 10; i++) {
            honest(&b[i]);
            world_release(&b[i]);
        }
        t[0] = thread_start(&c, guest_echo, (struct pf_regs){0});
        expect_call(t[0], 500);
        finish(t[0]);
        finish(first);
        world_release(&c);
    }
    if (!met)
        print_message("number_of_another: the host gave no number twice\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dirty_signal_state),
        cmocka_unit_test(same_start),
        cmocka_unit_test(interrupted_start),
        cmocka_unit_test(number_of_another),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
