/* SPDX-License-Identifier: Apache-2.0
 * sys_socket_many.c - sendmmsg and recvmmsg: one message after the other.
 *
 * A call that waits is run again from its start: how many messages are done stands in its state, and
 * c->progress belongs to the one in work. As on Linux an error behind the first message is not told
 * (a later call meets it), and the timeout of recvmmsg is looked at after each message only. */
#include <stdlib.h>
#include <sys/socket.h>

#include <kernel/ktime.h>

#include "sys_socket.h"

#define MESSAGES_MAX 1024u /* of one call, as UIO_MAXIOV; more are left */

struct many {
    uint32_t done;
    bool has_end;
    int64_t end_ns; /* CLOCK_MONOTONIC */
};

static struct many *many_get(struct call *c)
{
    if (!c->state) {
        c->state = calloc(1, sizeof(struct many));
        c->state_free = free;
    }
    return c->state;
}

static uaddr_t message_at(uaddr_t vec, uint32_t i)
{
    return uaddr_add(vec, i * sizeof(struct mmsghdr));
}

/* A message is done: @r bytes of it. */
static int message_done(struct call *c, uaddr_t at, struct many *many, sysret_t r)
{
    uint32_t len = (uint32_t)r;

    if (copy_out_obj(c->task->mm, uaddr_add(at, offsetof(struct mmsghdr, msg_len)), &len))
        return -EFAULT;
    many->done++;
    c->progress = 0;
    return 0;
}

sysret_t sys_sendmmsg(struct call *c, int32_t fd, uaddr_t vec, uint32_t count, uint32_t flags)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    struct many *many = many_get(c);
    if (!many)
        return -ENOMEM;
    sysret_t r = 0;
    count = MIN(count, MESSAGES_MAX);
    while (many->done < count) {
        uaddr_t at = message_at(vec, many->done);
        r = sys_sendmsg(c, fd, at, flags);
        if (r == SYS_PARK)
            return r;
        if (r >= 0)
            r = message_done(c, at, many, r);
        if (r < 0)
            break;
    }
    return many->done ? (sysret_t)many->done : r;
}

static int timeout_in(struct call *c, uaddr_t timeout, struct many *many)
{
    struct timespec ts;

    if (c->started || uaddr_null(timeout))
        return 0;
    if (copy_in_obj(c->task->mm, &ts, timeout))
        return -EFAULT;
    if (!timespec_valid(&ts))
        return -EINVAL;
    many->has_end = true;
    many->end_ns = deadline_after(timespec_to_ns(&ts));
    return 0;
}

/* What is left of it goes back, after a call that has received something. */
static int timeout_out(struct call *c, uaddr_t timeout, const struct many *many)
{
    if (!many->has_end || !many->done)
        return 0;
    int64_t left = MAX(many->end_ns - clock_now_ns(CLOCK_MONOTONIC), (int64_t)0);
    struct timespec ts = timespec_from_ns(left);
    return copy_out_obj(c->task->mm, timeout, &ts);
}

static bool many_timed_out(const struct many *many)
{
    return many->has_end && clock_now_ns(CLOCK_MONOTONIC) >= many->end_ns;
}

sysret_t sys_recvmmsg(struct call *c, int32_t fd, uaddr_t vec, uint32_t count, uint32_t flags,
                      uaddr_t timeout)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    struct many *many = many_get(c);
    if (!many)
        return -ENOMEM;
    sysret_t r = timeout_in(c, timeout, many);
    if (r)
        return r;
    count = MIN(count, MESSAGES_MAX);
    while (many->done < count) {
        uaddr_t at = message_at(vec, many->done);
        bool no_wait = many->done && (flags & MSG_WAITFORONE);
        r = sys_recvmsg(c, fd, at,
                        (flags & ~(uint32_t)MSG_WAITFORONE) | (no_wait ? MSG_DONTWAIT : 0u));
        if (r == SYS_PARK)
            return r;
        if (r >= 0)
            r = message_done(c, at, many, r);
        if (r < 0 || many_timed_out(many) || (flags & MSG_OOB))
            break;
    }
    int err = timeout_out(c, timeout, many);
    if (err)
        return err;
    return many->done ? (sysret_t)many->done : r;
}
