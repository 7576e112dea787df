/* SPDX-License-Identifier: Apache-2.0
 * sys_event.c - pipes, eventfd, epoll, timerfd: the ABI shells. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <files/files.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>

#include "sys_event.h"

/* Install both, tell the guest; takes the references. */
static sysret_t install_pair(struct task *t, struct file *a, struct file *b, uint32_t flags,
                             uaddr_t fds)
{
    int32_t nr[2];
    int err = fd_install_pair(t, a, b, flags, nr);

    file_put(a);
    file_put(b);
    if (err)
        return err;
    if (copy_out(t->mm, fds, nr, sizeof(nr))) {
        (void)fd_close(t, nr[0]);
        (void)fd_close(t, nr[1]);
        return -EFAULT;
    }
    return 0;
}

static sysret_t install_new(struct task *t, struct file *f, uint32_t flags)
{
    if (IS_ERR(f))
        return PTR_ERR(f);
    sysret_t fd = fd_install(t, f, flags, 0);
    file_put(f);
    return fd;
}

sysret_t sys_pipe2(struct call *c, uaddr_t fds, uint32_t flags)
{
    struct file *r, *w;

    if (flags & ~(uint32_t)(O_CLOEXEC | O_NONBLOCK | O_DIRECT))
        return -EINVAL;
    int err = pipe_new(flags & (O_NONBLOCK | O_DIRECT), &r, &w);
    return err ? err : install_pair(c->task, r, w, flags & O_CLOEXEC, fds);
}

sysret_t sys_pipe(struct call *c, uaddr_t fds)
{
    return sys_pipe2(c, fds, 0);
}

sysret_t sys_socketpair(struct call *c, int32_t domain, int32_t type, int32_t protocol, uaddr_t fds)
{
    struct file *a, *b;
    int err = socketpair_new(domain, type, protocol, &a, &b);

    if (err)
        return err;
    return install_pair(c->task, a, b, type & SOCK_CLOEXEC ? O_CLOEXEC : 0u, fds);
}

sysret_t sys_eventfd2(struct call *c, uint32_t initval, uint32_t flags)
{
    if (flags & ~(uint32_t)(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE))
        return -EINVAL;
    return install_new(c->task, eventfd_new(initval, flags), flags & EFD_CLOEXEC);
}

sysret_t sys_eventfd(struct call *c, uint32_t initval)
{
    return sys_eventfd2(c, initval, 0);
}

/* --- epoll --- */

sysret_t sys_epoll_create1(struct call *c, uint32_t flags)
{
    if (flags & ~(uint32_t)EPOLL_CLOEXEC)
        return -EINVAL;
    return install_new(c->task, epoll_new(0), flags & EPOLL_CLOEXEC);
}

sysret_t sys_epoll_create(struct call *c, int32_t size)
{
    return size <= 0 ? -EINVAL : sys_epoll_create1(c, 0);
}

sysret_t sys_epoll_ctl(struct call *c, int32_t epfd, int32_t op, int32_t fd, uaddr_t event)
{
    struct task *t = c->task;
    struct epoll_event ev = {0};

    if (op != EPOLL_CTL_DEL && copy_in_obj(t->mm, &ev, event))
        return -EFAULT;
    struct file *ep AUTO_PUT(file) = fd_file(t, epfd);
    if (IS_ERR(ep))
        return PTR_ERR(ep);
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    return epoll_control(ep, op, fd, f, &ev);
}

#define EPOLL_BATCH 64

/* Ready events to the guest, at most one batch: a level-triggered item goes back on the list, and a
 * second look would report it again. Count, -EFAULT. */
static sysret_t epoll_deliver(struct task *t, struct file *ep, uaddr_t events, int32_t max)
{
    struct epoll_event batch[EPOLL_BATCH];
    int n = epoll_collect(ep, batch, MIN(max, EPOLL_BATCH));

    if (n > 0 && copy_out(t->mm, events, batch, (size_t)n * sizeof(batch[0])))
        return -EFAULT;
    return n;
}

static void file_put_ref(void *ref)
{
    file_put(ref);
}

static sysret_t epoll_run(struct call *c, int32_t epfd, uaddr_t events, int32_t max, bool no_wait)
{
    if (max <= 0 || max > INT_MAX / (int32_t)sizeof(struct epoll_event))
        return -EINVAL;
    struct file *ep AUTO_PUT(file) = fd_file(c->task, epfd);
    if (IS_ERR(ep))
        return PTR_ERR(ep);
    if (!file_is_epoll(ep))
        return -EINVAL;
    sysret_t n = epoll_deliver(c->task, ep, events, max);
    if (n || no_wait || c->timed_out)
        return n;
    int err = call_arm_exclusive(c, ep->ops->wait_queue(ep), POLLIN, file_get(ep), file_put_ref);
    if (err)
        return err;
    if (file_readiness(ep) & POLLIN)
        return call_run_again(c);
    sysret_t r = call_wait_armed(c);
    if (r == -ETIMEDOUT)
        return 0;
    return r == -ERESTARTSYS ? -EINTR : r;
}

static void epoll_timeout_ms(struct call *c, int32_t timeout)
{
    if (timeout > 0)
        call_deadline(c, deadline_after((int64_t)timeout * 1000000));
}

sysret_t sys_epoll_wait(struct call *c, int32_t epfd, uaddr_t events, int32_t max, int32_t timeout)
{
    epoll_timeout_ms(c, timeout);
    return epoll_run(c, epfd, events, max, timeout == 0);
}

sysret_t sys_epoll_pwait(struct call *c, int32_t epfd, uaddr_t events, int32_t max, int32_t timeout,
                         uaddr_t mask, size_t size)
{
    epoll_timeout_ms(c, timeout);
    int err = wait_mask_push(c, mask, size);
    if (err)
        return err;
    return wait_mask_pop(c, mask, epoll_run(c, epfd, events, max, timeout == 0));
}

sysret_t sys_epoll_pwait2(struct call *c, int32_t epfd, uaddr_t events, int32_t max,
                          uaddr_t timeout, uaddr_t mask, size_t size)
{
    bool no_wait;
    int err = wait_timeout_in(c, timeout, false, &no_wait);

    if (!err)
        err = wait_mask_push(c, mask, size);
    if (err)
        return err;
    return wait_mask_pop(c, mask, epoll_run(c, epfd, events, max, no_wait));
}

/* --- timerfd --- */

sysret_t sys_timerfd_create(struct call *c, int32_t clock, uint32_t flags)
{
    if (flags & ~(uint32_t)(TFD_CLOEXEC | TFD_NONBLOCK))
        return -EINVAL;
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_MONOTONIC:
    case CLOCK_BOOTTIME:
        break;
    case CLOCK_REALTIME_ALARM:
    case CLOCK_BOOTTIME_ALARM:
        return -EPERM; /* would wake the host */
    default:
        return -EINVAL;
    }
    return install_new(c->task, timerfd_new(clock, flags), flags & TFD_CLOEXEC);
}

sysret_t sys_timerfd_settime(struct call *c, int32_t fd, uint32_t flags, uaddr_t value, uaddr_t old)
{
    struct itimerspec new, was;

    if (flags & ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
        return -EINVAL;
    if (copy_in_obj(c->task->mm, &new, value))
        return -EFAULT;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = timerfd_set(f, flags, &new, &was);
    if (!err && !uaddr_null(old))
        err = copy_out_obj(c->task->mm, old, &was);
    return err;
}

sysret_t sys_timerfd_gettime(struct call *c, int32_t fd, uaddr_t value)
{
    struct itimerspec now;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = timerfd_get(f, &now);
    return err ? err : copy_out_obj(c->task->mm, value, &now);
}
