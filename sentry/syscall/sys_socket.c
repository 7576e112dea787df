/* SPDX-License-Identifier: Apache-2.0
 * sys_socket.c - sending and receiving: the ABI shells, control messages, waiting. What a family
 * does stands behind its socket_ops.
 *
 * send and receive are run again from the start when they waited; what a stream has moved already
 * stands in call->progress. Descriptors in control messages are resolved in each run and are given
 * away only by the send that succeeds; received ones are installed before the reply, what does not
 * fit into the guest's buffer is closed (MSG_CTRUNC).
 *
 * A guest may lie about every length: addresses are at most a sockaddr_storage, control data at
 * CONTROL_MAX, and headers inside are walked with the bounds of the copy. */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include <kernel/ktime.h>
#include <vfs/fdtable.h>

#include "sys_pledge.h"
#include "sys_socket.h"

#define CONTROL_FEW 512u   /* with less there is no allocation */
#define CONTROL_MAX 20480u /* bytes of control data in one message, as net.core.optmem_max */

/* --- sending --- */

static bool cred_allowed(struct task *t, const struct ucred *u)
{
    const struct cred *c = t->cred;

    return (u->pid == t->process->pid || cred_capable(c, CAP_SYS_ADMIN)) &&
           (u->uid == c->uid || u->uid == c->euid || u->uid == c->suid ||
            cred_capable(c, CAP_SETUID)) &&
           (u->gid == c->gid || u->gid == c->egid || u->gid == c->sgid ||
            cred_capable(c, CAP_SETGID));
}

static int control_take_files(struct task *t, const char *data, size_t len, struct socket_msg *m)
{
    if (pledge_need(t, PLEDGE_SENDFD))
        return -EPERM;
    if (len % sizeof(int32_t) || len / sizeof(int32_t) > SOCKET_FDS_MAX - m->file_count)
        return -EINVAL;
    for (size_t i = 0; i < len / sizeof(int32_t); i++) {
        int32_t fd;
        memcpy(&fd, data + i * sizeof(fd), sizeof(fd));
        struct file *f = fd_file(t, fd);
        if (IS_ERR(f))
            return PTR_ERR(f);
        m->files[m->file_count++] = f;
    }
    return 0;
}

static int control_take(struct task *t, struct file *f, const struct cmsghdr *h, const char *data,
                        size_t len, struct socket_msg *m)
{
    bool local = file_socket(f)->domain == AF_UNIX;

    if (!local && f->ops->socket->control_in)
        return f->ops->socket->control_in(f, m, h->cmsg_level, h->cmsg_type, data, len);
    if (h->cmsg_level != SOL_SOCKET)
        return 0;
    if (local && h->cmsg_type == SCM_RIGHTS)
        return control_take_files(t, data, len, m);
    if (!local || h->cmsg_type != SCM_CREDENTIALS || len != sizeof(m->cred))
        return -EINVAL;
    memcpy(&m->cred, data, len);
    m->has_cred = true;
    return cred_allowed(t, &m->cred) ? 0 : -EPERM;
}

/* Decode the guest's control data; files taken so far stay in @m also on error. */
static int control_decode(struct task *t, struct file *f, uaddr_t control, size_t len,
                          struct socket_msg *m)
{
    int err = 0;

    if (len > CONTROL_MAX)
        return -ENOBUFS;
    char *buf autofree = malloc(len + 1);
    if (!buf)
        return -ENOMEM;
    if (copy_in(t->mm, buf, control, len))
        return -EFAULT;
    for (size_t at = 0; !err && len - at >= sizeof(struct cmsghdr);) {
        struct cmsghdr h;
        memcpy(&h, buf + at, sizeof(h));
        if (h.cmsg_len < sizeof(h) || h.cmsg_len > len - at)
            return -EINVAL;
        err = control_take(t, f, &h, buf + at + sizeof(h), h.cmsg_len - sizeof(h), m);
        size_t step = align_up(h.cmsg_len, sizeof(uint64_t));
        at += MIN(step, len - at);
    }
    return err;
}

static void msg_drop_files(struct socket_msg *m)
{
    for (unsigned i = 0; i < m->file_count; i++)
        file_put(m->files[i]);
    m->file_count = 0;
}

/* Until @m may go on, within SO_SNDTIMEO. */
static sysret_t send_wait(struct call *c, struct file *f, struct socket_msg *m)
{
    int64_t limit = socket_file_timeout_ns(f, true);

    if (limit)
        call_deadline(c, deadline_after(limit));
    sysret_t r = f->ops->socket->send_wait(c, f, m);
    if (r == -ETIMEDOUT)
        return -EAGAIN;
    return limit && r == -ERESTARTSYS ? -EINTR : r;
}

/* One send with waiting and SIGPIPE. Consumes m->files. */
static sysret_t send_message(struct call *c, struct file *f, struct socket_msg *m, uint32_t flags)
{
    bool wait = !(f->flags & O_NONBLOCK) && !(flags & MSG_DONTWAIT);
    bool stream = file_socket(f)->type == SOCK_STREAM;

    if (c->progress) { /* the first part went with the descriptors */
        uio_advance(m->data, c->progress);
        msg_drop_files(m);
    }
    sysret_t r = socket_send(f, m, (int)(flags | (wait ? 0u : MSG_DONTWAIT)));
    if (r >= 0)
        m->file_count = 0;
    else
        msg_drop_files(m);
    if (r > 0)
        c->progress += (uint64_t)r;
    if (wait && r == -EAGAIN && f->ops->socket->send_wait)
        r = send_wait(c, f, m);
    else if (wait && (r == -EAGAIN || (r >= 0 && stream && m->data->left)))
        r = socket_wait(c, f, POLLOUT, false);
    if (r == SYS_PARK)
        return r;
    if (c->progress)
        return (sysret_t)c->progress;
    if (r == -EPIPE && stream && !(flags & MSG_NOSIGNAL))
        (void)signal_send_task(c->task, SIGPIPE, NULL);
    return r;
}

/* The destination, if the guest names one. */
static int destination_in(struct task *t, struct file *f, uaddr_t addr, uint32_t len,
                          struct socket_msg *m)
{
    if (uaddr_null(addr) || !len)
        return 0;
    int err = pledge_need(t, promises_of_family(file_socket(f)->domain));
    if (!err)
        err = socket_address_in(t, addr, len, &m->name);
    if (!err && f->ops->socket->destination)
        err = f->ops->socket->destination(f, (struct sockaddr *)&m->name, len);
    m->name_len = err ? 0 : len;
    return err;
}

sysret_t sys_sendto(struct call *c, int32_t fd, uaddr_t buf, size_t len, uint32_t flags,
                    uaddr_t addr, uint32_t addrlen)
{
    struct socket_msg m;
    struct uio u;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    socket_msg_init(&m, &u);
    int err = destination_in(c->task, f, addr, addrlen, &m);
    if (!err)
        err = uio_init_user(&u, c->task->mm, buf, len);
    if (err)
        return err;
    sysret_t r = send_message(c, f, &m, flags);
    uio_fini(&u);
    return r;
}

sysret_t sys_sendmsg(struct call *c, int32_t fd, uaddr_t msg, uint32_t flags)
{
    struct task *t = c->task;
    struct msghdr h;
    struct socket_msg m;
    struct uio u;
    struct file *f AUTO_PUT(file) = socket_file(t, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if (copy_in_obj(t->mm, &h, msg))
        return -EFAULT;
    socket_msg_init(&m, &u);
    int err = destination_in(t, f, UADDR((uintptr_t)h.msg_name), h.msg_namelen, &m);
    if (!err)
        err = uio_init_iovec(&u, t->mm, UADDR((uintptr_t)h.msg_iov), h.msg_iovlen);
    if (err)
        return err == -EINVAL && h.msg_iovlen > 1024 ? -EMSGSIZE : err;
    if (h.msg_control && h.msg_controllen)
        err = control_decode(t, f, UADDR((uintptr_t)h.msg_control), h.msg_controllen, &m);
    sysret_t r = err;
    if (err)
        msg_drop_files(&m);
    else
        r = send_message(c, f, &m, flags);
    uio_fini(&u);
    return r;
}

/* --- receiving --- */

/* One receive with waiting; MSG_WAITALL on streams. */
static sysret_t receive_message(struct call *c, struct file *f, struct socket_msg *m,
                                uint32_t flags)
{
    bool wait = !(f->flags & O_NONBLOCK) && !(flags & MSG_DONTWAIT);
    bool all = (flags & MSG_WAITALL) && !(flags & (MSG_PEEK | MSG_OOB)) &&
               file_socket(f)->type == SOCK_STREAM;

    if ((flags & MSG_ERRQUEUE) && file_socket(f)->domain != AF_UNIX) { /* which knows none */
        const struct socket_ops *ops = f->ops->socket;
        return ops->receive_error ? ops->receive_error(f, m, (int)flags) : -EAGAIN;
    }
    if (c->progress)
        uio_advance(m->data, c->progress);
    sysret_t r = socket_receive(f, m, (int)(flags | (wait ? 0u : MSG_DONTWAIT)));
    if (r > 0)
        c->progress += (uint64_t)r;
    bool more = all && r > 0 && m->data->left && !m->file_count;
    if (wait && (r == -EAGAIN || more))
        r = socket_wait(c, f, POLLIN, f->ops->wait_one & POLLIN);
    if (r == SYS_PARK || !c->progress)
        return r;
    return (sysret_t)c->progress;
}

sysret_t sys_recvfrom(struct call *c, int32_t fd, uaddr_t buf, size_t len, uint32_t flags,
                      uaddr_t addr, uaddr_t addrlen)
{
    struct socket_msg m;
    struct uio u;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = uio_init_user(&u, c->task->mm, buf, len);
    if (err)
        return err;
    socket_msg_init(&m, &u);
    sysret_t r = receive_message(c, f, &m, flags);
    uio_fini(&u);
    if (r != SYS_PARK)
        msg_drop_files(&m);
    if (r >= 0 && !uaddr_null(addr))
        err = socket_address_out(c->task->mm, &m.name, m.name_len, addr, addrlen);
    return err ? err : r;
}

/* Install what fits; the rest is closed by the caller. */
static void control_put_files(struct task *t, struct control_out *o, struct socket_msg *m,
                              uint32_t flags)
{
    size_t space = o->size - o->used;
    unsigned fits = space < sizeof(struct cmsghdr) + sizeof(int32_t)
                        ? 0
                        : (unsigned)MIN((space - sizeof(struct cmsghdr)) / sizeof(int32_t),
                                        (size_t)m->file_count);
    int32_t fds[SOCKET_FDS_MAX];
    unsigned n = 0;

    for (; n < fits; n++) {
        fds[n] = fd_install(t, m->files[n], flags & MSG_CMSG_CLOEXEC ? O_CLOEXEC : 0u, 0);
        if (fds[n] < 0)
            break;
    }
    if (n < m->file_count)
        m->flags |= MSG_CTRUNC;
    if (!n)
        return;
    (void)control_append(o, SOL_SOCKET, SCM_RIGHTS, fds, n * sizeof(fds[0]));
}

static int control_encode(struct task *t, struct file *f, struct msghdr *h, struct socket_msg *m,
                          uint32_t flags)
{
    struct control_out o = {.size = h->msg_control ? MIN(h->msg_controllen, CONTROL_MAX) : 0};

    const struct socket_ops *ops = f->ops->socket;
    bool wants_cred = ops->wants_cred && ops->wants_cred(f);

    h->msg_controllen = 0;
    if (!wants_cred && !m->file_count && (!ops->control_out || !o.size))
        return 0;
    char few[CONTROL_FEW];
    char *many autofree = o.size > sizeof(few) ? malloc(o.size) : NULL;
    if (o.size > sizeof(few) && !many)
        return -ENOMEM;
    o.buf = many ? many : few;
    memset(o.buf, 0, o.size);
    if (ops->control_out)
        ops->control_out(f, m, &o);
    if (wants_cred && !control_append(&o, SOL_SOCKET, SCM_CREDENTIALS, &m->cred, sizeof(m->cred)))
        m->flags |= MSG_CTRUNC;
    if (m->file_count)
        control_put_files(t, &o, m, flags);
    int err = o.used ? copy_out(t->mm, UADDR((uintptr_t)h->msg_control), o.buf, o.used) : 0;
    h->msg_controllen = o.used;
    return err;
}

static sysret_t recvmsg_finish(struct call *c, struct file *f, uaddr_t msg, struct msghdr *h,
                               struct socket_msg *m, uint32_t flags)
{
    struct mm *mm = c->task->mm;

    if (m->file_count && pledge_need(c->task, PLEDGE_RECVFD)) {
        msg_drop_files(m);
        m->flags |= MSG_CTRUNC;
    }
    int err = control_encode(c->task, f, h, m, flags);
    uint32_t room = h->msg_name ? (uint32_t)h->msg_namelen : 0;
    h->msg_namelen = h->msg_name ? m->name_len : 0;
    if (!err && room)
        err = copy_out(mm, UADDR((uintptr_t)h->msg_name), &m->name, MIN(room, m->name_len));
    h->msg_flags = m->flags | (int)(flags & MSG_CMSG_CLOEXEC);
    if (!err)
        err =
            copy_out_obj(mm, uaddr_add(msg, offsetof(struct msghdr, msg_namelen)), &h->msg_namelen);
    if (!err)
        err = copy_out_obj(mm, uaddr_add(msg, offsetof(struct msghdr, msg_controllen)),
                           &h->msg_controllen);
    if (!err)
        err = copy_out_obj(mm, uaddr_add(msg, offsetof(struct msghdr, msg_flags)), &h->msg_flags);
    return err;
}

sysret_t sys_recvmsg(struct call *c, int32_t fd, uaddr_t msg, uint32_t flags)
{
    struct task *t = c->task;
    struct msghdr h;
    struct socket_msg m;
    struct uio u;
    struct file *f AUTO_PUT(file) = socket_file(t, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    if (copy_in_obj(t->mm, &h, msg))
        return -EFAULT;
    int err = uio_init_iovec(&u, t->mm, UADDR((uintptr_t)h.msg_iov), h.msg_iovlen);
    if (err)
        return err == -EINVAL && h.msg_iovlen > 1024 ? -EMSGSIZE : err;
    socket_msg_init(&m, &u);
    sysret_t r = receive_message(c, f, &m, flags);
    uio_fini(&u);
    if (r >= 0)
        err = (int)recvmsg_finish(c, f, msg, &h, &m, flags);
    if (r != SYS_PARK)
        msg_drop_files(&m);
    return err ? err : r;
}
