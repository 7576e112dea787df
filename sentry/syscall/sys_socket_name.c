/* SPDX-License-Identifier: Apache-2.0
 * sys_socket_name.c - making, naming, connecting sockets, their options: the ABI shells.
 *
 * Addresses are copied once, at most sizeof(sockaddr_storage) bytes, zero-filled behind their
 * length; the family checks them. */
#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include <kernel/ktime.h>
#include <vfs/fdtable.h>

#include "sys_pledge.h"
#include "sys_socket.h"

struct file *socket_file(struct task *t, int fd)
{
    struct file *f = fd_file(t, fd);

    if (IS_ERR(f) || file_is_socket(f))
        return f;
    file_put(f);
    return ERR_PTR(-ENOTSOCK);
}

struct file *socket_file_promised(struct task *t, int fd)
{
    struct file *f = socket_file(t, fd);

    if (IS_ERR(f) || !pledge_need(t, promises_of_family(file_socket(f)->domain)))
        return f;
    file_put(f);
    return ERR_PTR(-EPERM);
}

int socket_address_in(struct task *t, uaddr_t addr, uint32_t len, struct sockaddr_storage *ret)
{
    if (len > sizeof(*ret))
        return -EINVAL;
    memset(ret, 0, sizeof(*ret));
    return len && copy_in(t->mm, ret, addr, len) ? -EFAULT : 0;
}

int socket_address_out(struct mm *mm, const struct sockaddr_storage *ss, uint32_t len, uaddr_t addr,
                       uaddr_t addrlen)
{
    int32_t room;

    if (copy_in_obj(mm, &room, addrlen))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    int r = len ? copy_out(mm, addr, ss, MIN((uint32_t)room, len)) : 0;
    return r ? r : copy_out_obj(mm, addrlen, &len);
}

sysret_t socket_wait(struct call *c, struct file *f, uint32_t mask, bool one)
{
    int64_t limit = socket_file_timeout_ns(f, mask == POLLOUT);

    if (limit)
        call_deadline(c, deadline_after(limit));
    sysret_t r = one ? call_wait_file_one(c, f, mask) : call_wait_file(c, f, mask);
    if (r == -ETIMEDOUT)
        return -EAGAIN;
    return limit && r == -ERESTARTSYS ? -EINTR : r;
}

sysret_t sys_bind(struct call *c, int32_t fd, uaddr_t addr, uint32_t len)
{
    struct sockaddr_storage ss;
    struct file *f AUTO_PUT(file) = socket_file_promised(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = socket_address_in(c->task, addr, len, &ss);
    if (r)
        return r;
    return f->ops->socket->bind ? f->ops->socket->bind(c->task, f, (struct sockaddr *)&ss, len)
                                : -EOPNOTSUPP;
}

sysret_t sys_listen(struct call *c, int32_t fd, int32_t backlog)
{
    struct file *f AUTO_PUT(file) = socket_file_promised(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    return f->ops->socket->listen ? f->ops->socket->listen(f, backlog) : -EOPNOTSUPP;
}

sysret_t sys_connect(struct call *c, int32_t fd, uaddr_t addr, uint32_t len)
{
    struct sockaddr_storage ss;
    struct file *f AUTO_PUT(file) = socket_file_promised(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = socket_address_in(c->task, addr, len, &ss);
    if (r)
        return r;
    return f->ops->socket->connect ? f->ops->socket->connect(c, f, (struct sockaddr *)&ss, len)
                                   : -EOPNOTSUPP;
}

/* Own name or the peer's, to the guest. */
static sysret_t name_out(struct task *t, struct file *f, bool peer, uaddr_t addr, uaddr_t addrlen)
{
    struct sockaddr_storage ss = {0};
    int n = f->ops->socket->name ? f->ops->socket->name(f, peer, &ss) : -EOPNOTSUPP;

    return n < 0 ? n : socket_address_out(t->mm, &ss, (uint32_t)n, addr, addrlen);
}

/* Of a connection that may be over already. */
static sysret_t accepted_name_out(struct task *t, struct file *a, uaddr_t addr, uaddr_t addrlen)
{
    struct sockaddr_storage ss = {0};

    if (!a->ops->socket->accept_name)
        return name_out(t, a, true, addr, addrlen);
    int n = a->ops->socket->accept_name(a, &ss);
    return socket_address_out(t->mm, &ss, (uint32_t)n, addr, addrlen);
}

sysret_t sys_accept4(struct call *c, int32_t fd, uaddr_t addr, uaddr_t len, uint32_t flags)
{
    struct task *t = c->task;

    if (flags & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = socket_file_promised(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = fd_room(t); /* before a connection is taken off its queue */
    if (err)
        return err;
    const struct socket_ops *ops = f->ops->socket;
    struct file *a AUTO_PUT(file) = ops->accept ? ops->accept(f, flags) : ERR_PTR(-EOPNOTSUPP);
    if (PTR_ERR(a) == -EAGAIN && !(f->flags & O_NONBLOCK))
        return socket_wait(c, f, POLLIN, true);
    if (IS_ERR(a))
        return PTR_ERR(a);
    if (!uaddr_null(addr)) {
        sysret_t r = accepted_name_out(t, a, addr, len);
        if (r)
            return r;
    }
    return fd_install(t, a, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0u, 0);
}

sysret_t sys_accept(struct call *c, int32_t fd, uaddr_t addr, uaddr_t len)
{
    return sys_accept4(c, fd, addr, len, 0);
}

sysret_t sys_getsockname(struct call *c, int32_t fd, uaddr_t addr, uaddr_t addrlen)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    return IS_ERR(f) ? PTR_ERR(f) : name_out(c->task, f, false, addr, addrlen);
}

sysret_t sys_getpeername(struct call *c, int32_t fd, uaddr_t addr, uaddr_t addrlen)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    return IS_ERR(f) ? PTR_ERR(f) : name_out(c->task, f, true, addr, addrlen);
}

sysret_t sys_socket(struct call *c, int32_t domain, int32_t type, int32_t protocol)
{
    struct file *f = socket_new(domain, type, protocol);

    if (IS_ERR(f))
        return PTR_ERR(f);
    sysret_t fd = fd_install(c->task, f, type & SOCK_CLOEXEC ? O_CLOEXEC : 0u, 0);
    file_put(f);
    return fd;
}

sysret_t sys_shutdown(struct call *c, int32_t fd, int32_t how)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    return IS_ERR(f) ? PTR_ERR(f) : socket_shutdown(f, how);
}

#define OPTION_MAX 256u /* bytes of an option's value; all known ones are shorter */

sysret_t sys_getsockopt(struct call *c, int32_t fd, int32_t level, int32_t name, uaddr_t value,
                        uaddr_t len)
{
    struct mm *mm = c->task->mm;
    char buf[OPTION_MAX] = {0};
    int32_t asked;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if (copy_in_obj(mm, &asked, len))
        return -EFAULT;
    if (asked < 0)
        return -EINVAL;
    uint32_t size = MIN((uint32_t)asked, OPTION_MAX);
    int err = socket_option_get(f, level, name, buf, &size);
    if (!err)
        err = copy_out(mm, value, buf, size);
    return err ? err : copy_out_obj(mm, len, &size);
}

sysret_t sys_setsockopt(struct call *c, int32_t fd, int32_t level, int32_t name, uaddr_t value,
                        uint32_t len)
{
    char buf[OPTION_MAX] = {0};
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if ((int32_t)len < 0)
        return -EINVAL;
    len = MIN(len, OPTION_MAX);
    if (copy_in(c->task->mm, buf, value, len))
        return -EFAULT;
    return socket_option_set(f, level, name, buf, len);
}
