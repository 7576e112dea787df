/* SPDX-License-Identifier: Apache-2.0
 * sys_socket.c - socket calls, for AF_UNIX pairs: the ABI shells, control messages, waiting.
 *
 * send and receive are run again from the start when they waited; what a stream has moved already
 * stands in call->progress. Descriptors in control messages are resolved in each run and are given
 * away only by the send that succeeds; received ones are installed before the reply, what does not
 * fit into the guest's buffer is closed (MSG_CTRUNC).
 *
 * A guest may lie about every length: names are cut at sizeof(sockaddr_un), control data at
 * CONTROL_MAX, and headers inside are walked with the bounds of the copy. */
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include <files/files.h>
#include <kernel/ktime.h>
#include <syscall/sys.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#define CONTROL_MAX 20480u /* bytes of control data in one message, as net.core.optmem_max */

static struct file *socket_file(struct task *t, int fd)
{
    struct file *f = fd_file(t, fd);

    if (IS_ERR(f) || file_is_socket(f))
        return f;
    file_put(f);
    return ERR_PTR(-ENOTSOCK);
}

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

static int control_take(struct task *t, const struct cmsghdr *h, const char *data, size_t len,
                        struct socket_msg *m)
{
    if (h->cmsg_level != SOL_SOCKET)
        return 0;
    if (h->cmsg_type == SCM_RIGHTS)
        return control_take_files(t, data, len, m);
    if (h->cmsg_type != SCM_CREDENTIALS || len != sizeof(m->cred))
        return -EINVAL;
    memcpy(&m->cred, data, len);
    m->has_cred = true;
    return cred_allowed(t, &m->cred) ? 0 : -EPERM;
}

/* Decode the guest's control data; files taken so far stay in @m also on error. */
static int control_decode(struct task *t, uaddr_t control, size_t len, struct socket_msg *m)
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
        err = control_take(t, &h, buf + at + sizeof(h), h.cmsg_len - sizeof(h), m);
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

static sysret_t socket_wait(struct call *c, struct file *f, uint32_t mask)
{
    int64_t limit = socket_timeout_ns(f, mask == POLLOUT);

    if (limit)
        call_deadline(c, deadline_after(limit));
    sysret_t r = call_wait_file(c, f, mask);
    return r == -ETIMEDOUT ? -EAGAIN : r;
}

/* One send with waiting and SIGPIPE. Consumes m->files. */
static sysret_t send_message(struct call *c, struct file *f, struct socket_msg *m, uint32_t flags)
{
    bool wait = !(f->flags & O_NONBLOCK) && !(flags & MSG_DONTWAIT);
    bool stream = socket_type(f) == SOCK_STREAM;

    if (flags & MSG_OOB) {
        msg_drop_files(m);
        return -EOPNOTSUPP;
    }
    if (c->progress) { /* the first part went with the descriptors */
        uio_advance(m->data, c->progress);
        msg_drop_files(m);
    }
    sysret_t r = socket_send(f, m, (int)flags);
    if (r >= 0)
        m->file_count = 0;
    else
        msg_drop_files(m);
    if (r > 0)
        c->progress += (uint64_t)r;
    if (wait && (r == -EAGAIN || (r >= 0 && stream && m->data->left)))
        r = socket_wait(c, f, POLLOUT);
    if (r == SYS_PARK)
        return r;
    if (c->progress)
        return (sysret_t)c->progress;
    if (r == -EPIPE && stream && !(flags & MSG_NOSIGNAL))
        (void)signal_send_task(c->task, SIGPIPE, NULL);
    return r;
}

/* Nobody has a name to send or connect to: what a look at the path says, else ECONNREFUSED. */
static int address_error(struct task *t, uaddr_t addr, uint32_t len)
{
    struct sockaddr_un un = {0};
    struct path p = {0};

    if (len < sizeof(un.sun_family) || len > sizeof(un))
        return -EINVAL;
    if (copy_in(t->mm, &un, addr, len))
        return -EFAULT;
    if (un.sun_family != AF_UNIX)
        return -EINVAL;
    char name[sizeof(un.sun_path) + 1] = {0};
    memcpy(name, un.sun_path, len - sizeof(un.sun_family));
    if (!name[0])
        return -ECONNREFUSED;
    int err = path_lookup(t, AT_FDCWD, name, 0, &p);
    if (err)
        return err;
    path_put(&p);
    return -ECONNREFUSED;
}

static int destination_check(struct task *t, struct file *f, uaddr_t addr, uint32_t len)
{
    if (uaddr_null(addr) || !len)
        return 0;
    if (socket_type(f) == SOCK_STREAM)
        return socket_connected(f) ? -EISCONN : -EOPNOTSUPP;
    return address_error(t, addr, len);
}

sysret_t sys_sendto(struct call *c, int32_t fd, uaddr_t buf, size_t len, uint32_t flags,
                    uaddr_t addr, uint32_t addrlen)
{
    struct socket_msg m;
    struct uio u;
    struct file *f AUTO_PUT(file) = socket_file(c->task, fd);

    if (IS_ERR(f))
        return PTR_ERR(f);
    int err = destination_check(c->task, f, addr, addrlen);
    if (!err)
        err = uio_init_user(&u, c->task->mm, buf, len);
    if (err)
        return err;
    m.data = &u;
    m.file_count = 0;
    m.has_cred = false;
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
    int err = destination_check(t, f, UADDR((uintptr_t)h.msg_name), h.msg_namelen);
    if (!err)
        err = uio_init_iovec(&u, t->mm, UADDR((uintptr_t)h.msg_iov), h.msg_iovlen);
    if (err)
        return err == -EINVAL && h.msg_iovlen > 1024 ? -EMSGSIZE : err;
    m.data = &u;
    m.file_count = 0;
    m.has_cred = false;
    if (h.msg_control && h.msg_controllen)
        err = control_decode(t, UADDR((uintptr_t)h.msg_control), h.msg_controllen, &m);
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
    bool all = (flags & MSG_WAITALL) && !(flags & MSG_PEEK) && socket_type(f) == SOCK_STREAM;

    m->file_count = 0;
    m->flags = 0;
    if (flags & (MSG_OOB | MSG_ERRQUEUE))
        return flags & MSG_OOB ? -EOPNOTSUPP : -EAGAIN;
    if (c->progress)
        uio_advance(m->data, c->progress);
    sysret_t r = socket_receive(f, m, (int)flags);
    if (r > 0)
        c->progress += (uint64_t)r;
    bool more = all && r > 0 && m->data->left && !m->file_count;
    if (wait && (r == -EAGAIN || more))
        r = socket_wait(c, f, POLLIN);
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
    m.data = &u;
    sysret_t r = receive_message(c, f, &m, flags);
    uio_fini(&u);
    if (r != SYS_PARK)
        msg_drop_files(&m);
    if (r >= 0 && !uaddr_null(addr)) { /* the sender has no name */
        uint32_t none = 0;
        if (copy_out_obj(c->task->mm, addrlen, &none))
            return -EFAULT;
    }
    return r;
}

struct control_out {
    char *buf;
    size_t size, used;
};

/* Room for one header with @len bytes of data; NULL: it does not fit. */
static char *control_append(struct control_out *o, int type, size_t len)
{
    struct cmsghdr h = {.cmsg_len = sizeof(h) + len, .cmsg_level = SOL_SOCKET, .cmsg_type = type};

    if (o->size - o->used < h.cmsg_len)
        return NULL;
    char *at = o->buf + o->used;
    memcpy(at, &h, sizeof(h));
    o->used += MIN(align_up(h.cmsg_len, sizeof(uint64_t)), o->size - o->used);
    return at + sizeof(h);
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
    char *data = control_append(o, SCM_RIGHTS, n * sizeof(fds[0]));
    memcpy(data, fds, n * sizeof(fds[0]));
}

static int control_encode(struct task *t, struct file *f, struct msghdr *h, struct socket_msg *m,
                          uint32_t flags)
{
    struct control_out o = {.size = h->msg_control ? MIN(h->msg_controllen, CONTROL_MAX) : 0};

    h->msg_controllen = 0;
    if (!socket_wants_cred(f) && !m->file_count)
        return 0;
    o.buf = calloc(1, o.size + 1);
    if (!o.buf)
        return -ENOMEM;
    if (socket_wants_cred(f)) {
        char *data = control_append(&o, SCM_CREDENTIALS, sizeof(m->cred));
        if (data)
            memcpy(data, &m->cred, sizeof(m->cred));
        else
            m->flags |= MSG_CTRUNC;
    }
    if (m->file_count)
        control_put_files(t, &o, m, flags);
    int err = o.used ? copy_out(t->mm, UADDR((uintptr_t)h->msg_control), o.buf, o.used) : 0;
    h->msg_controllen = o.used;
    free(o.buf);
    return err;
}

static sysret_t recvmsg_finish(struct call *c, struct file *f, uaddr_t msg, struct msghdr *h,
                               struct socket_msg *m, uint32_t flags)
{
    struct mm *mm = c->task->mm;

    int err = control_encode(c->task, f, h, m, flags);
    h->msg_namelen = 0;
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
    m.data = &u;
    sysret_t r = receive_message(c, f, &m, flags);
    uio_fini(&u);
    if (r >= 0)
        err = (int)recvmsg_finish(c, f, msg, &h, &m, flags);
    if (r != SYS_PARK)
        msg_drop_files(&m);
    return err ? err : r;
}

/* --- the rest --- */

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
