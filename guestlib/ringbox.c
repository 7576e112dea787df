/* SPDX-License-Identifier: Apache-2.0
 * ringbox.c - libringbox (ringbox.h): the producer's side of lane and queues.
 *
 * A call that must reach a sleeping poller, or a wait that has spun long enough, is a trapped call
 * with the reserved number: its trap wakes the poller by itself, so there is no futex protocol
 * here. Outside a sandbox that number is ENOSYS and everything becomes native calls. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <ring/abi.h>
#include <ring/queue.h>
#include <ringbox.h>

#define EAGER 100u   /* looks at a line without a pause in between: the answer is about to come */
#define SPINS 20000u /* looks before the thread waits in the kernel */

struct ringbox_entry {
    struct ring_sqe sqe; /* in the queue itself */
};

struct ringbox {
    bool inside;
    pid_t tid; /* outside: the thread that has opened it */
    struct ring_producer ring;
    struct lane *lane;
    const struct ring_poller_word *pollers;
    struct ringbox_result result; /* what peek returned */
    /* outside: own memory in place of the shared one */
    struct ring_sqe *native_sq;
    struct ring_cqe *native_cq;
    struct lane_sentry native_sentry;
    uint64_t native_done;
    bool native_failed; /* the last linked entry did */
    bool native_linked;
};

_Static_assert(sizeof(struct ringbox_entry) == sizeof(struct ring_sqe), "one and the same");
_Static_assert(RINGBOX_LINK == SQE_LINK && RINGBOX_DRAIN == SQE_DRAIN, "same flags");

/* Raw, so that errno stays the caller's. */
static int64_t raw_call(uint64_t nr, const uint64_t *a)
{
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    int64_t ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

/* Through the stub, as a patched call site does: a signal finds the thread there, and the call ends
 * before a handler runs that might make calls of its own. The stub goes on behind the syscall
 * instruction, or at it when the call has to trap. */
static int64_t post_call(uint64_t nr, const uint64_t *a)
{
    register uint64_t r10 __asm__("r10") = a[3];
    register uint64_t r8 __asm__("r8") = a[4];
    register uint64_t r9 __asm__("r9") = a[5];
    register uint64_t r11 __asm__("r11") = STUB_TEXT;
    int64_t ret;

    __asm__ volatile("lea 1f(%%rip), %%rcx\n\tjmp *%%r11\n\tsyscall\n1:"
                     : "=a"(ret), "+r"(r11)
                     : "a"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "memory");
    return ret;
}

static int64_t control(uint64_t command, uint64_t arg)
{
    return raw_call(RING_CTL_NR, (const uint64_t[6]){command, arg});
}

/* Look again; true: long enough, or nobody shall spin, now wait in the kernel. */
static bool spin(const struct ringbox *rb, uint32_t *spins)
{
    if (rb->lane && ring_load_relaxed(&rb->lane->sentry.spins) == 0)
        return true;
    if (*spins > EAGER)
        ring_pause();
    return ++*spins > SPINS;
}

static bool poller_sleeps(const struct ringbox *rb)
{
    ring_full_fence(); /* pairs with the poller's between asleep = 1 and its last look */
    uint32_t i = ring_load_relaxed(&rb->lane->sentry.poller) % RO_POLLERS;
    return ring_load_relaxed(&rb->pollers[i].asleep) != 0;
}

static uint32_t round_up(unsigned n)
{
    uint32_t size = 1;

    while (size < n)
        size <<= 1;
    return size;
}

/* Outside a thread has one queue too. A forked child has its parent's word, but another tid. */
static __thread pid_t native_owner;

static int open_native(struct ringbox *rb, uint32_t entries)
{
    rb->tid = (pid_t)syscall(SYS_gettid);
    if (native_owner == rb->tid)
        return -EBUSY;
    rb->native_sq = calloc(entries, sizeof *rb->native_sq);
    rb->native_cq = calloc(entries, sizeof *rb->native_cq);
    if (!rb->native_sq || !rb->native_cq)
        return -ENOMEM;
    rb->ring.sq = rb->native_sq;
    rb->ring.cq = rb->native_cq;
    rb->ring.sentry = &rb->native_sentry;
    native_owner = rb->tid;
    return 0;
}

static int open_inside(struct ringbox *rb, uint32_t entries)
{
    struct ring_setup u = {.sq_entries = entries, .cq_entries = entries};
    int64_t r = control(RING_CTL_SETUP, (uint64_t)(uintptr_t)&u);

    if (r)
        return (int)r;
    rb->lane = (struct lane *)(uintptr_t)u.lane_addr;
    rb->pollers = (const struct ring_poller_word *)(uintptr_t)u.pollers_addr;
    rb->ring.sq = (struct ring_sqe *)(uintptr_t)u.sq_addr;
    rb->ring.cq = (const struct ring_cqe *)(uintptr_t)u.cq_addr;
    rb->ring.sentry = &rb->lane->sentry;
    return 0;
}

int ringbox_open(struct ringbox **ret, unsigned entries)
{
    if (entries == 0 || entries > RING_MAX_ENTRIES)
        return -EINVAL;
    uint32_t n = round_up(entries);
    struct ringbox *rb = calloc(1, sizeof *rb);
    if (!rb)
        return -ENOMEM;
    rb->ring.sq_entries = rb->ring.cq_entries = n;
    rb->ring.sq_shift = rb->ring.cq_shift = ring_shift(n);
    rb->inside = control(RING_CTL_VERSION, 0) == RING_ABI_VERSION;
    int r = rb->inside ? open_inside(rb, n) : open_native(rb, n);
    if (r) {
        free(rb->native_sq);
        free(rb->native_cq);
        free(rb);
        return r;
    }
    *ret = rb;
    return 0;
}

void ringbox_close(struct ringbox *rb)
{
    if (!rb)
        return;
    ringbox_submit(rb);
    while (ringbox_wait(rb))
        ringbox_advance(rb, 1);
    if (rb->inside)
        control(RING_CTL_CLOSE, 0);
    else
        native_owner = 0;
    free(rb->native_sq);
    free(rb->native_cq);
    free(rb);
}

bool ringbox_inside(const struct ringbox *rb)
{
    return rb->inside;
}

struct ringbox_entry *ringbox_get(struct ringbox *rb)
{
    return (struct ringbox_entry *)ring_producer_get(&rb->ring);
}

void ringbox_prep(struct ringbox_entry *e, unsigned nr, uint64_t a0, uint64_t a1, uint64_t a2,
                  uint64_t a3, uint64_t a4, uint64_t a5)
{
    e->sqe.nr = nr > UINT16_MAX ? UINT16_MAX : (uint16_t)nr; /* there is no such call either */
    e->sqe.flags = 0;
    e->sqe.args[0] = a0;
    e->sqe.args[1] = a1;
    e->sqe.args[2] = a2;
    e->sqe.args[3] = a3;
    e->sqe.args[4] = a4;
    e->sqe.args[5] = a5;
    e->sqe.user_data = 0;
}

void ringbox_set_data(struct ringbox_entry *e, uint64_t user_data)
{
    e->sqe.user_data = user_data;
}

void ringbox_set_flags(struct ringbox_entry *e, unsigned flags)
{
    e->sqe.flags = flags > UINT16_MAX ? UINT16_MAX : (uint16_t)flags; /* refused either way */
}

#define ADDRESS(p) ((uint64_t)(uintptr_t)(p))

void ringbox_prep_read(struct ringbox_entry *e, int fd, void *buf, size_t n)
{
    ringbox_prep(e, SYS_read, (uint64_t)fd, ADDRESS(buf), n, 0, 0, 0);
}

void ringbox_prep_write(struct ringbox_entry *e, int fd, const void *buf, size_t n)
{
    ringbox_prep(e, SYS_write, (uint64_t)fd, ADDRESS(buf), n, 0, 0, 0);
}

void ringbox_prep_pread(struct ringbox_entry *e, int fd, void *buf, size_t n, off_t off)
{
    ringbox_prep(e, SYS_pread64, (uint64_t)fd, ADDRESS(buf), n, (uint64_t)off, 0, 0);
}

void ringbox_prep_pwrite(struct ringbox_entry *e, int fd, const void *buf, size_t n, off_t off)
{
    ringbox_prep(e, SYS_pwrite64, (uint64_t)fd, ADDRESS(buf), n, (uint64_t)off, 0, 0);
}

void ringbox_prep_openat(struct ringbox_entry *e, int dirfd, const char *path, int flags,
                         mode_t mode)
{
    ringbox_prep(e, SYS_openat, (uint64_t)dirfd, ADDRESS(path), (uint64_t)flags, mode, 0, 0);
}

void ringbox_prep_close(struct ringbox_entry *e, int fd)
{
    ringbox_prep(e, SYS_close, (uint64_t)fd, 0, 0, 0, 0, 0);
}

/* Needs the caller's registers or changes who runs. Refused outside as well as inside, so that a
 * program behaves the same. */
static bool needs_registers(unsigned nr)
{
    switch (nr) {
    case SYS_clone:
    case SYS_clone3:
    case SYS_fork:
    case SYS_vfork:
    case SYS_execve:
    case SYS_execveat:
    case SYS_exit:
    case SYS_exit_group:
    case SYS_rt_sigreturn:
    case SYS_restart_syscall:
    case SYS_sigaltstack:
    case SYS_arch_prctl:
        return true;
    default:
        return false;
    }
}

bool ringbox_queueable(unsigned nr)
{
    static const uint16_t refused[] = {
        SYS_capset,
        SYS_close_range,
        SYS_epoll_pwait,
        441 /* epoll_pwait2 */,
        SYS_kill,
        SYS_mount,
        SYS_pause,
        SYS_ppoll,
        SYS_prctl,
        SYS_pselect6,
        SYS_rt_sigaction,
        SYS_rt_sigprocmask,
        SYS_rt_sigqueueinfo,
        SYS_rt_sigsuspend,
        SYS_rt_sigtimedwait,
        SYS_rt_tgsigqueueinfo,
        SYS_set_robust_list,
        SYS_setdomainname,
        SYS_set_tid_address,
        SYS_setfsgid,
        SYS_setfsuid,
        SYS_setgid,
        SYS_setgroups,
        SYS_sethostname,
        SYS_setregid,
        SYS_setresgid,
        SYS_setresuid,
        SYS_setreuid,
        SYS_setuid,
        SYS_tgkill,
        SYS_pidfd_send_signal,
        SYS_tkill,
        SYS_umask,
        SYS_umount2,
        SYS_unshare,
        SYS_wait4,
        SYS_waitid,
    };

    for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++)
        if (refused[i] == nr)
            return false;
    return !needs_registers(nr);
}

static void run_native(struct ringbox *rb)
{
    const struct ring_producer *p = &rb->ring;

    for (; rb->native_done < p->submitted; rb->native_done++) {
        const struct ring_sqe *e = &p->sq[rb->native_done & (p->sq_entries - 1)];
        struct ring_cqe *c = &rb->native_cq[rb->native_done & (p->cq_entries - 1)];

        if (e->flags & ~(SQE_LINK | SQE_DRAIN))
            c->result = -EINVAL;
        else if (rb->native_linked && rb->native_failed)
            c->result = -ECANCELED;
        else
            c->result = ringbox_queueable(e->nr) ? raw_call(e->nr, e->args) : -EINVAL;
        rb->native_linked = e->flags & SQE_LINK;
        rb->native_failed = c->result < 0;
        c->user_data = e->user_data;
        c->flags = 0;
        c->sq_taken = (uint32_t)rb->native_done + 1;
        ring_store_release(&c->tag, ring_tag(rb->native_done, p->cq_shift));
    }
    ring_store_release(&rb->native_sentry.sq_taken, (uint32_t)rb->native_done);
}

unsigned ringbox_submit(struct ringbox *rb)
{
    unsigned n = ring_producer_submit(&rb->ring);

    if (n == 0)
        return 0;
    if (!rb->inside)
        run_native(rb);
    else if (poller_sleeps(rb))
        control(RING_CTL_KICK, 0);
    return n;
}

const struct ringbox_result *ringbox_peek(struct ringbox *rb)
{
    const struct ring_cqe *c = ring_producer_peek(&rb->ring);

    if (!c)
        return NULL;
    rb->result = (struct ringbox_result){c->user_data, c->result, c->flags};
    return &rb->result;
}

const struct ringbox_result *ringbox_wait(struct ringbox *rb)
{
    uint32_t spins = 0;

    for (;;) {
        const struct ringbox_result *r = ringbox_peek(rb);
        if (r)
            return r;
        if (rb->ring.submitted == rb->ring.reaped)
            return NULL;
        if (spin(rb, &spins))
            control(RING_CTL_WAIT, (uint32_t)rb->ring.reaped);
    }
}

void ringbox_advance(struct ringbox *rb, unsigned n)
{
    ring_producer_advance(&rb->ring, n);
}

int64_t ringbox_call(struct ringbox *rb, unsigned nr, uint64_t a0, uint64_t a1, uint64_t a2,
                     uint64_t a3, uint64_t a4, uint64_t a5)
{
    const uint64_t args[6] = {a0, a1, a2, a3, a4, a5};

    if (needs_registers(nr))
        return -EINVAL;
    if (!rb->inside)
        return raw_call(nr, args);
    return post_call(nr, args);
}

int ringbox_pledge(const char *promises, const char *exec_promises)
{
    return (int)raw_call(RING_CTL_NR,
                         (const uint64_t[6]){RING_CTL_PLEDGE, (uint64_t)(uintptr_t)promises,
                                             (uint64_t)(uintptr_t)exec_promises});
}

int ringbox_unveil(const char *path, const char *letters)
{
    return (int)raw_call(RING_CTL_NR,
                         (const uint64_t[6]){RING_CTL_UNVEIL, (uint64_t)(uintptr_t)path,
                                             (uint64_t)(uintptr_t)letters});
}
