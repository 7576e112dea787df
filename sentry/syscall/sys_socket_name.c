/* SPDX-License-Identifier: Apache-2.0
 * sys_socket_name.c - names of sockets: bind, listen, connect, accept, getsockname: the ABI shells.
 *
 * Addresses are copied once, at most sizeof(sockaddr_un) bytes, zero-filled behind their length. */
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include <files/files.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>

static struct file *socket_file(struct task *t, int fd)
{
    struct file *f = fd_file(t, fd);

    if (IS_ERR(f) || file_is_socket(f))
        return f;
    file_put(f);
    return ERR_PTR(-ENOTSOCK);
}

static int address_in(struct task *t, uaddr_t addr, uint32_t len, struct sockaddr_un *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (len < sizeof(ret->sun_family) || len > sizeof(*ret))
        return -EINVAL;
    if (copy_in(t->mm, ret, addr, len))
        return -EFAULT;
    return ret->sun_family == AF_UNIX ? 0 : -EINVAL;
}

sysret_t sys_bind(struct call *c, int32_t fd, uaddr_t addr, uint32_t len)
{
    struct sockaddr_un un;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = address_in(c->task, addr, len, &un);
    return r ? r : socket_bind(c->task, f, &un, len);
}

sysret_t sys_listen(struct call *c, int32_t fd, int32_t backlog)
{
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    return IS_ERR(f) ? PTR_ERR(f) : socket_listen(f, backlog);
}

sysret_t sys_connect(struct call *c, int32_t fd, uaddr_t addr, uint32_t len)
{
    struct sockaddr_un un;
    struct wait_queue *q;
    void *ref;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int r = address_in(c->task, addr, len, &un);
    if (!r)
        r = socket_connect(c->task, f, &un, len, &q, &ref);
    if (r != -EAGAIN)
        return r;
    if (f->flags & O_NONBLOCK) {
        socket_ref_put(ref);
        return -EAGAIN;
    }
    r = call_arm_ref(c, q, POLLOUT, ref, socket_ref_put);
    if (r)
        return r;
    r = socket_connect(c->task, f, &un, len, &q, &ref); /* room that came before the waiter */
    if (r != -EAGAIN)
        return r;
    socket_ref_put(ref);
    return call_wait_armed(c);
}

static sysret_t address_out(struct mm *mm, const struct sockaddr_un *un, int len, uaddr_t addr,
                            uaddr_t addrlen)
{
    int32_t room;

    if (copy_in_obj(mm, &room, addrlen))
        return -EFAULT;
    if (room < 0)
        return -EINVAL;
    int r = copy_out(mm, addr, un, (size_t)MIN(room, len));
    return r ? r : copy_out_obj(mm, addrlen, &len);
}

sysret_t sys_accept4(struct call *c, int32_t fd, uaddr_t addr, uaddr_t len, uint32_t flags)
{
    struct task *t = c->task;
    struct sockaddr_un un;

    if (flags & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
        return -EINVAL;
    struct file *f AUTO_PUT(file) = socket_file(t, fd);
    if (IS_ERR(f))
        return PTR_ERR(f);
    struct file *a AUTO_PUT(file) = socket_accept(f, flags);
    if (PTR_ERR(a) == -EAGAIN && !(f->flags & O_NONBLOCK)) {
        int64_t limit = socket_timeout_ns(f, false);
        if (limit)
            call_deadline(c, deadline_after(limit));
        sysret_t r = call_wait_file(c, f, POLLIN);
        return r == -ETIMEDOUT ? -EAGAIN : r;
    }
    if (IS_ERR(a))
        return PTR_ERR(a);
    if (!uaddr_null(addr)) {
        int n = socket_name(a, true, &un);
        sysret_t r = n < 0 ? n : address_out(t->mm, &un, n, addr, len);
        if (r)
            return r;
    }
    return fd_install(t, a, flags & SOCK_CLOEXEC ? O_CLOEXEC : 0u, 0);
}

sysret_t sys_accept(struct call *c, int32_t fd, uaddr_t addr, uaddr_t len)
{
    return sys_accept4(c, fd, addr, len, 0);
}

static sysret_t name_out(struct call *c, int32_t fd, bool peer, uaddr_t addr, uaddr_t addrlen)
{
    struct sockaddr_un un;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int n = socket_name(f, peer, &un);
    return n < 0 ? n : address_out(c->task->mm, &un, n, addr, addrlen);
}

sysret_t sys_getsockname(struct call *c, int32_t fd, uaddr_t addr, uaddr_t addrlen)
{
    return name_out(c, fd, false, addr, addrlen);
}

sysret_t sys_getpeername(struct call *c, int32_t fd, uaddr_t addr, uaddr_t addrlen)
{
    return name_out(c, fd, true, addr, addrlen);
}
