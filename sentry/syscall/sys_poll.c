/* SPDX-License-Identifier: Apache-2.0
 * sys_poll.c - poll, ppoll, select, pselect6.
 *
 * All four become a list of (descriptor, wanted events). A run looks at every file; when nothing
 * holds it arms a waiter on each file's queue (with a reference to the file), looks again and
 * parks. Descriptors are resolved anew in every run, as Linux does after each wake.
 *
 * The guest chooses the count (RLIMIT_NOFILE) and may change the arrays while it waits: they are
 * copied in each run, only the results are copied out. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>

#include <files/files.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>

#include "sys_event.h"

struct poll_entry {
    int32_t fd;
    uint32_t want, have; /* POLL* */
};

static void file_put_ref(void *ref)
{
    file_put(ref);
}

/* How many entries have something; fills have. */
static int64_t poll_look(struct task *t, struct poll_entry *e, size_t n)
{
    int64_t count = 0;

    for (size_t i = 0; i < n; i++) {
        e[i].have = 0;
        if (e[i].fd < 0)
            continue;
        struct file *f AUTO_PUT(file) = fd_file(t, e[i].fd);
        if (IS_ERR(f))
            e[i].have = POLLNVAL;
        else
            e[i].have = file_readiness(f) & (e[i].want | POLLERR | POLLHUP);
        count += e[i].have != 0;
    }
    return count;
}

static int poll_arm(struct call *c, const struct poll_entry *e, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (e[i].fd < 0)
            continue;
        struct file *f = fd_file(c->task, e[i].fd);
        if (IS_ERR(f))
            continue; /* closed meanwhile: the second look says POLLNVAL */
        struct wait_queue *q = f->ops->wait_queue ? f->ops->wait_queue(f) : NULL;
        if (!q) {
            file_put(f);
            continue;
        }
        int err = call_arm_ref(c, q, e[i].want | POLLERR | POLLHUP, f, file_put_ref);
        if (err)
            return err;
    }
    return 0;
}

/* Count, 0 timed out, SYS_PARK, -ERESTARTNOHAND interrupted, -ENOMEM. */
static sysret_t poll_run(struct call *c, struct poll_entry *e, size_t n, bool no_wait)
{
    int64_t count = poll_look(c->task, e, n);

    if (count || no_wait || c->timed_out)
        return count;
    int err = poll_arm(c, e, n);
    if (err)
        return err;
    if (poll_look(c->task, e, n))
        return call_run_again(c);
    sysret_t r = call_wait_armed(c);
    if (r == -ETIMEDOUT)
        return 0;
    return r == -ERESTARTSYS ? -ERESTARTNOHAND : r;
}

int wait_timeout_in(struct call *c, uaddr_t u, bool timeval, bool *ret_no_wait)
{
    struct timespec ts;

    *ret_no_wait = false;
    if (uaddr_null(u))
        return 0;
    if (copy_in_obj(c->task->mm, &ts, u)) /* a timeval has the same two 64-bit fields */
        return -EFAULT;
    if (timeval) {
        int64_t usec = ts.tv_nsec;
        if (usec < 0 || add_overflow((int64_t)ts.tv_sec, usec / 1000000, &ts.tv_sec))
            return -EINVAL;
        ts.tv_nsec = usec % 1000000 * NSEC_PER_USEC;
    }
    if (!timespec_valid(&ts))
        return -EINVAL;
    int64_t ns = timespec_to_ns(&ts);
    *ret_no_wait = ns == 0;
    if (ns)
        call_deadline(c, deadline_after(ns));
    return 0;
}

/* What is left of the timeout goes back to the guest; a fault there is ignored, as on Linux. */
static void wait_timeout_out(struct call *c, uaddr_t u, bool timeval, sysret_t result)
{
    if (uaddr_null(u) || result == SYS_PARK || !c->has_deadline)
        return;
    int64_t left = c->timed_out ? 0 : c->deadline_ns - clock_now_ns(CLOCK_MONOTONIC);
    struct timespec ts = timespec_from_ns(MAX(left, (int64_t)0));
    if (timeval)
        ts.tv_nsec /= NSEC_PER_USEC;
    int err = copy_out_obj(c->task->mm, u, &ts);
    (void)err;
}

int wait_mask_push(struct call *c, uaddr_t mask, size_t size)
{
    sigset_t_abi set;

    if (uaddr_null(mask))
        return 0;
    if (size != sizeof(set))
        return -EINVAL;
    if (copy_in_obj(c->task->mm, &set, mask))
        return -EFAULT;
    signal_mask_push(c->task, set & ~SIG_UNBLOCKABLE);
    return 0;
}

sysret_t wait_mask_pop(struct call *c, uaddr_t mask, sysret_t result)
{
    bool interrupted = result == -EINTR || result == -ERESTARTNOHAND || result == -ERESTARTSYS;

    if (!uaddr_null(mask) && result != SYS_PARK && !interrupted)
        signal_mask_pop(c->task);
    return result;
}

/* --- poll --- */

#define POLL_INLINE 16

static sysret_t poll_fds(struct call *c, uaddr_t fds, uint32_t nfds, bool no_wait)
{
    struct pollfd few[POLL_INLINE], *user = few;
    struct poll_entry few_entries[POLL_INLINE], *e = few_entries;
    void *many autofree = NULL;
    size_t bytes = nfds * sizeof(*user);

    if (nfds > c->task->process->rlimits[RLIMIT_NOFILE].rlim_cur || nfds > FDTABLE_MAX)
        return -EINVAL;
    if (nfds > POLL_INLINE) {
        many = malloc(nfds * (sizeof(*user) + sizeof(*e)));
        if (!many)
            return -ENOMEM;
        e = many;
        user = (struct pollfd *)(void *)(e + nfds);
    }
    if (bytes && copy_in(c->task->mm, user, fds, bytes))
        return -EFAULT;
    for (size_t i = 0; i < nfds; i++)
        e[i] = (struct poll_entry){user[i].fd, (uint16_t)user[i].events, 0};
    sysret_t r = poll_run(c, e, nfds, no_wait);
    if (r < 0)
        return r;
    for (size_t i = 0; i < nfds; i++)
        user[i].revents = (short)e[i].have;
    if (bytes && copy_out(c->task->mm, fds, user, bytes))
        return -EFAULT;
    return r;
}

sysret_t sys_poll(struct call *c, uaddr_t fds, uint32_t nfds, int32_t timeout)
{
    if (timeout > 0)
        call_deadline(c, deadline_after((int64_t)timeout * 1000000));
    sysret_t r = poll_fds(c, fds, nfds, timeout == 0);
    return r == -ERESTARTNOHAND ? signal_restart_block(c) : r;
}

sysret_t sys_ppoll(struct call *c, uaddr_t fds, uint32_t nfds, uaddr_t timeout, uaddr_t mask,
                   size_t size)
{
    bool no_wait;
    int err = wait_timeout_in(c, timeout, false, &no_wait);

    if (!err)
        err = wait_mask_push(c, mask, size);
    if (err)
        return err;
    sysret_t r = poll_fds(c, fds, nfds, no_wait);
    wait_timeout_out(c, timeout, false, r);
    return wait_mask_pop(c, mask, r);
}

/* --- select --- */

#define SELECT_IN (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define SELECT_OUT (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)
#define SELECT_EX (POLLPRI)
#define WORD_BITS 64u

static const uint32_t select_masks[3] = {SELECT_IN, SELECT_OUT, SELECT_EX};

static bool bit_get(const uint64_t *set, size_t i)
{
    return set[i / WORD_BITS] >> i % WORD_BITS & 1;
}

/* Entries for every descriptor that is in some set. */
static size_t select_entries(uint64_t *const sets[3], size_t nfds, struct poll_entry *ret)
{
    size_t n = 0;

    for (size_t fd = 0; fd < nfds; fd++) {
        uint32_t want = 0;
        size_t w = fd / WORD_BITS;
        if (fd % WORD_BITS == 0 && !(sets[0][w] | sets[1][w] | sets[2][w])) {
            fd += WORD_BITS - 1;
            continue;
        }
        for (int k = 0; k < 3; k++)
            want |= bit_get(sets[k], fd) ? select_masks[k] : 0;
        if (want)
            ret[n++] = (struct poll_entry){(int32_t)fd, want, 0};
    }
    return n;
}

/* Results into @sets, which are the ones asked for; returns how many bits. -EBADF. */
static sysret_t select_results(uint64_t *const sets[3], size_t words, const struct poll_entry *e,
                               size_t n)
{
    sysret_t bits = 0;

    for (size_t i = 0; i < n; i++)
        if (e[i].have & POLLNVAL)
            return -EBADF;
    uint64_t *asked autofree = malloc(3 * words * sizeof(*asked) + 1);
    if (!asked)
        return -ENOMEM;
    for (size_t k = 0; k < 3; k++) {
        memcpy(asked + k * words, sets[k], words * sizeof(*asked));
        memset(sets[k], 0, words * sizeof(*asked));
    }
    for (size_t i = 0; i < n; i++) {
        size_t fd = (size_t)e[i].fd;
        for (size_t k = 0; k < 3; k++) {
            if (!(e[i].have & select_masks[k]) || !bit_get(asked + k * words, fd))
                continue;
            sets[k][fd / WORD_BITS] |= 1ULL << fd % WORD_BITS;
            bits++;
        }
    }
    return bits;
}

static sysret_t select_copied(struct call *c, size_t nfds, const uaddr_t user[3], uint64_t *buf,
                              bool no_wait)
{
    size_t words = (nfds + WORD_BITS - 1) / WORD_BITS;
    uint64_t *sets[3] = {buf, buf + words, buf + 2 * words};
    struct mm *mm = c->task->mm;

    for (int k = 0; k < 3; k++) {
        memset(sets[k], 0, words * 8);
        if (!uaddr_null(user[k]) && words && copy_in(mm, sets[k], user[k], words * 8))
            return -EFAULT;
        if (nfds % WORD_BITS)
            sets[k][words - 1] &= (1ULL << nfds % WORD_BITS) - 1;
    }
    size_t n = 0;
    for (size_t i = 0; i < words; i++)
        n += (size_t)__builtin_popcountll(sets[0][i] | sets[1][i] | sets[2][i]);
    struct poll_entry *e autofree = malloc((n + 1) * sizeof(*e));
    if (!e)
        return -ENOMEM;
    n = select_entries(sets, nfds, e);
    sysret_t r = poll_run(c, e, n, no_wait);
    if (r < 0)
        return r;
    r = select_results(sets, words, e, n);
    for (int k = 0; k < 3 && r >= 0; k++)
        if (!uaddr_null(user[k]) && words && copy_out(mm, user[k], sets[k], words * 8))
            return -EFAULT;
    return r;
}

static sysret_t select_fds(struct call *c, int32_t nfds, const uaddr_t user[3], bool no_wait)
{
    uint64_t few[3 * 1024 / WORD_BITS];
    void *many autofree = NULL;

    if (nfds < 0)
        return -EINVAL;
    size_t n = MIN((size_t)nfds, (size_t)FDTABLE_MAX);
    if (n > 1024) {
        many = malloc(3 * (n / WORD_BITS + 1) * 8);
        if (!many)
            return -ENOMEM;
    }
    return select_copied(c, n, user, many ? many : few, no_wait);
}

static sysret_t select_timed(struct call *c, int32_t nfds, const uaddr_t user[3], uaddr_t timeout,
                             bool timeval)
{
    bool no_wait;
    int err = wait_timeout_in(c, timeout, timeval, &no_wait);

    if (err)
        return err;
    sysret_t r = select_fds(c, nfds, user, no_wait);
    wait_timeout_out(c, timeout, timeval, r);
    return r;
}

sysret_t sys_select(struct call *c, int32_t nfds, uaddr_t in, uaddr_t out, uaddr_t ex,
                    uaddr_t timeout)
{
    const uaddr_t user[3] = {in, out, ex};

    return select_timed(c, nfds, user, timeout, true);
}

sysret_t sys_pselect6(struct call *c, int32_t nfds, uaddr_t in, uaddr_t out, uaddr_t ex,
                      uaddr_t timeout, uaddr_t sig)
{
    const uaddr_t user[3] = {in, out, ex};
    struct {
        uint64_t mask, size;
    } arg = {0, 0};

    if (!uaddr_null(sig) && copy_in_obj(c->task->mm, &arg, sig))
        return -EFAULT;
    int err = wait_mask_push(c, UADDR(arg.mask), arg.size);
    if (err)
        return err;
    return wait_mask_pop(c, UADDR(arg.mask), select_timed(c, nfds, user, timeout, false));
}
