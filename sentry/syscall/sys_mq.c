/* SPDX-License-Identifier: Apache-2.0
 * sys_mq.c - POSIX message queues: the ABI shells, and waiting.
 *
 * The C library takes the slash off a name before it calls. A sender that waits copies its message in
 * again when it is run again; one that was taken and cannot be copied out is lost, as on Linux. */
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <files/files.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>

#define MQ_PRIORITIES 32768u

static int name_in(struct task *t, uaddr_t u, char *ret, size_t size)
{
    ssize_t n = copy_in_string(t->mm, ret, u, size);

    if (n < 0)
        return (int)n;
    if (!n)
        return -ENOENT;
    return strchr(ret, '/') || !strcmp(ret, ".") || !strcmp(ret, "..") ? -EACCES : 0;
}

sysret_t sys_mq_open(struct call *c, uaddr_t name, int32_t oflag, uint32_t mode, uaddr_t attr)
{
    struct task *t = c->task;
    char text[MQ_NAME_MAX + 1];
    struct mq_attr a;
    bool given = (oflag & O_CREAT) && !uaddr_null(attr);

    if (given && copy_in_obj(t->mm, &a, attr))
        return -EFAULT;
    int err = name_in(t, name, text, sizeof(text));
    if (err)
        return err;
    struct file *f AUTO_PUT(file) =
        mqueue_open_file(t, text, (uint32_t)oflag, mode, given ? &a : NULL);
    return IS_ERR(f) ? PTR_ERR(f) : fd_install(t, f, O_CLOEXEC, 0);
}

sysret_t sys_mq_unlink(struct call *c, uaddr_t name)
{
    char text[MQ_NAME_MAX + 1];
    int err = name_in(c->task, name, text, sizeof(text));

    return err ? err : mqueue_unlink_name(c->task, text);
}

/* An absolute time on CLOCK_REALTIME, or none. */
static int timeout_in(struct call *c, uaddr_t timeout)
{
    struct timespec ts;

    if (uaddr_null(timeout) || c->started)
        return 0;
    if (copy_in_obj(c->task->mm, &ts, timeout))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    call_deadline(c, deadline_at(CLOCK_REALTIME, timespec_to_ns(&ts)));
    return 0;
}

sysret_t sys_mq_timedsend(struct call *c, int32_t fd, uaddr_t msg, size_t len, uint32_t priority,
                          uaddr_t timeout)
{
    struct task *t = c->task;
    struct mq_attr a;

    if (priority >= MQ_PRIORITIES)
        return -EINVAL;
    int err = timeout_in(c, timeout);
    if (err)
        return err;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    err = mqueue_attr(f, NULL, &a);
    if (err)
        return err;
    if (len > (size_t)a.mq_msgsize)
        return -EMSGSIZE;
    char *buf autofree = malloc(len + 1);
    if (!buf)
        return -ENOMEM;
    if (copy_in(t->mm, buf, msg, len))
        return -EFAULT;
    sysret_t r = mqueue_send(f, buf, len, priority);
    if (r != -EAGAIN || (f->flags & O_NONBLOCK))
        return r;
    return call_wait_file(c, f, POLLOUT);
}

static void receiver_end(void *state)
{
    mqueue_receiver_waits(state, false);
    file_put(state);
}

sysret_t sys_mq_timedreceive(struct call *c, int32_t fd, uaddr_t msg, size_t len, uaddr_t priority,
                             uaddr_t timeout)
{
    struct task *t = c->task;
    char *data autofree = NULL;
    uint32_t prio;

    int err = timeout_in(c, timeout);
    if (err)
        return err;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    ssize_t n = mqueue_receive_message(f, len, &data, &prio);
    if (n == -EAGAIN && !(f->flags & O_NONBLOCK)) {
        if (!c->state) {
            mqueue_receiver_waits(f, true);
            c->state = file_get(f);
            c->state_free = receiver_end;
        }
        return call_wait_file(c, f, POLLIN);
    }
    if (n < 0)
        return n;
    if (!uaddr_null(priority) && copy_out_obj(t->mm, priority, &prio))
        return -EFAULT;
    return copy_out(t->mm, msg, data, (size_t)n) ? -EFAULT : n;
}

sysret_t sys_mq_notify(struct call *c, int32_t fd, uaddr_t event)
{
    struct sigevent e;
    bool given = !uaddr_null(event);

    if (given && copy_in_obj(c->task->mm, &e, event))
        return -EFAULT;
    if (given && e.sigev_notify != SIGEV_NONE && e.sigev_notify != SIGEV_SIGNAL)
        return -EINVAL;
    if (given && e.sigev_notify == SIGEV_SIGNAL && (e.sigev_signo < 1 || e.sigev_signo > NSIGNALS))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(c->task, fd);
    return IS_ERR(f) ? PTR_ERR(f) : mqueue_notify_set(c->task, f, given ? &e : NULL);
}

sysret_t sys_mq_getsetattr(struct call *c, int32_t fd, uaddr_t new, uaddr_t old)
{
    struct task *t = c->task;
    struct mq_attr a, was;
    bool given = !uaddr_null(new);

    if (given && copy_in_obj(t->mm, &a, new))
        return -EFAULT;
    if (given && (a.mq_flags & ~(int64_t)O_NONBLOCK))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = fd_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = mqueue_attr(f, given ? &a : NULL, &was);
    if (err || uaddr_null(old))
        return err;
    return copy_out_obj(t->mm, old, &was);
}
