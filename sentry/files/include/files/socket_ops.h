/* SPDX-License-Identifier: Apache-2.0
 * socket_ops.h - what a socket family is: the operations behind the socket calls.
 *
 * A family is one `static const struct socket_ops`, named by the file_ops of its sockets, and one
 * `static const struct socket_family` that makes them. The calls (syscall/sys_socket*.c) copy
 * addresses, vectors and control data in and out and do all waiting but connect's; operations never
 * wait: they answer -EAGAIN and the file's wait queue fires when that changes. private_data of a
 * socket's file begins with a struct socket.
 *
 * Addresses: @len bytes as the guest gave them (0 .. sizeof(struct sockaddr_storage)), zeros behind;
 * the family checks both. A NULL member is -EOPNOTSUPP unless it says otherwise.
 */
#ifndef FILES_SOCKET_OPS_H
#define FILES_SOCKET_OPS_H

#include <string.h>
#include <sys/socket.h>

#include <base/err.h>
#include <vfs/file.h>

#define SOCKET_FDS_MAX 253 /* descriptors in one SCM_RIGHTS */

/* What all sockets have. */
struct socket {
    int domain, type, protocol;                        /* immutable */
    _Atomic(int64_t) send_timeout_ns, recv_timeout_ns; /* SO_SNDTIMEO, SO_RCVTIMEO; 0 none */
};

/* One message, decoded. Files in @files are references: given to send on success, received ones
 * belong to the caller. */
struct socket_msg {
    struct uio *data;
    struct file *files[SOCKET_FDS_MAX];
    unsigned file_count;
    bool has_cred; /* receive: cred is the sender's */
    struct ucred cred;
    int flags;         /* receive: MSG_TRUNC, MSG_EOR, MSG_CTRUNC, MSG_OOB */
    uint32_t name_len; /* of name; send: 0 = to the peer; receive: 0 = the sender has none */
    struct sockaddr_storage name;
    uint64_t family_data[8]; /* between send and control_in, receive and control_out; starts zero */
};
/* All but the big arrays, which are only as good as their counts. */
static inline void socket_msg_init(struct socket_msg *m, struct uio *data)
{
    m->data = data;
    m->file_count = 0;
    m->has_cred = false;
    m->flags = 0;
    m->name_len = 0;
    memset(m->family_data, 0, sizeof(m->family_data));
}

/* Control data on its way to the guest. */
struct control_out {
    char *buf;
    size_t size, used;
};
/* SO_TIMESTAMP or (@ns) SO_TIMESTAMPNS of a message that came at @time_ns, 0 now (CLOCK_REALTIME). */
void control_append_time(struct control_out *o, struct socket_msg *m, bool ns, int64_t time_ns);
/* One header with @len bytes of data; false: it does not fit (MSG_CTRUNC). */
bool control_append(struct control_out *o, int level, int type, const void *data, size_t len);

struct socket_ops {
    int (*bind)(struct task *t, struct file *f, const struct sockaddr *addr, uint32_t len);
    /* Waits by itself: may return SYS_PARK. */
    sysret_t (*connect)(struct call *c, struct file *f, const struct sockaddr *addr, uint32_t len);
    int (*listen)(struct file *f, int backlog);
    /* @flags: SOCK_NONBLOCK. ERR_PTR(-EAGAIN): nobody is there yet. */
    struct file *(*accept)(struct file *f, uint32_t flags);
    /* Own name or the peer's: its length, or -errno. @ret is zeroed. */
    int (*name)(struct file *f, bool peer, struct sockaddr_storage *ret);
    /* The peer's name for accept, also of a connection that is already over; NULL: as name. */
    int (*accept_name)(struct file *f, struct sockaddr_storage *ret);
    /* May the guest name this destination? Called before anything of the message is copied in; send
     * finds it in m->name. NULL: any. */
    int (*destination)(struct file *f, const struct sockaddr *addr, uint32_t len);
    /* MSG_* as the guest gave them; MSG_DONTWAIT is set when the caller will not wait. Bytes,
     * -EAGAIN, -errno. -EPIPE of a stream becomes SIGPIPE by the caller. */
    ssize_t (*send)(struct file *f, struct socket_msg *m, int flags);
    /* After @send's -EAGAIN without MSG_DONTWAIT, with the same @m: wait until it may go on. NULL:
     * for POLLOUT. */
    sysret_t (*send_wait)(struct call *c, struct file *f, struct socket_msg *m);
    /* Bytes, 0 at the end, -EAGAIN, -errno. */
    ssize_t (*receive)(struct file *f, struct socket_msg *m, int flags);
    /* MSG_ERRQUEUE: what came back. -EAGAIN, the default: nothing. */
    ssize_t (*receive_error)(struct file *f, struct socket_msg *m, int flags);
    /* One control message of a send (not SCM_RIGHTS, SCM_CREDENTIALS); NULL: -EINVAL for
     * SOL_SOCKET, else ignored. */
    int (*control_in)(struct file *f, struct socket_msg *m, int level, int type, const void *data,
                      size_t len);
    /* Control messages of what was received, before descriptors and credentials. NULL: none. */
    void (*control_out)(struct file *f, struct socket_msg *m, struct control_out *o);
    bool (*wants_cred)(struct file *f);       /* SO_PASSCRED; NULL: no */
    int (*shutdown)(struct file *f, int how); /* how is in range */
    int (*option_get)(struct file *f, int level, int name, void *buf, uint32_t *len);
    int (*option_set)(struct file *f, int level, int name, const void *buf, uint32_t len);
};

struct socket_family {
    int domain;
    /* @type: kind | SOCK_NONBLOCK, checked to hold no other flag. ERR_PTR. */
    struct file *(*create)(int domain, int type, int protocol);
    int (*pair)(int type, int protocol, struct file **ret_a, struct file **ret_b); /* or NULL */
};
/* At boot only. */
void socket_family_register(const struct socket_family *family);

/* --- socket_core.c: what the calls use; @f may be any file (-ENOTSOCK) --- */

static inline bool file_is_socket(const struct file *f)
{
    return f->ops->socket;
}
static inline struct socket *file_socket(const struct file *f) /* @f is a socket */
{
    return f->private_data;
}

/* -EAFNOSUPPORT, -EPROTONOSUPPORT, -ESOCKTNOSUPPORT, -EINVAL, -ENOMEM, -ENFILE. */
struct file *socket_new(int domain, int type, int protocol);
int socketpair_new(int domain, int type, int protocol, struct file **ret_a, struct file **ret_b);
ssize_t socket_send(struct file *f, struct socket_msg *m, int flags);
ssize_t socket_receive(struct file *f, struct socket_msg *m,
                       int flags); /* initialises @m's results */
int socket_shutdown(struct file *f, int how);
int socket_option_get(struct file *f, int level, int name, void *buf, uint32_t *len);
int socket_option_set(struct file *f, int level, int name, const void *buf, uint32_t len);

/* SO_RCVTIMEO and SO_SNDTIMEO, for option_set and option_get: 0, -EINVAL, -EDOM. */
int socket_timeout_set(struct socket *s, bool send, const void *buf, uint32_t len);
struct timeval;
struct timeval socket_timeout_get(const struct socket *s, bool send);
/* Sockets may have no file: connections not accepted, or kept by their peers alone. Linux bounds those of
 * AF_UNIX in the same way. A family makes one only when socket_enter() says true; socket_leave() when it
 * is gone. */
#define SOCKETS_MAX (2 * FILES_MAX)
uint32_t sockets_count(void);
bool socket_enter(void);
void socket_leave(void);

/* file_ops.timeout_ns of every socket. */
int64_t socket_file_timeout_ns(struct file *f, bool write);

/* file_ops.getattr of every socket. */
int socket_file_getattr(struct file *f, struct stat *ret);

/* ioctls on interfaces (SIOCGIF*), which every socket has. Set at boot; NULL: -ENOTTY. */
extern sysret_t (*socket_interface_ioctl)(struct task *t, uint32_t cmd, uint64_t arg);

#endif
