/* SPDX-License-Identifier: Apache-2.0
 * unix.h - the AF_UNIX socket, for unix*.c. */
#ifndef FILES_UNIX_H
#define FILES_UNIX_H

#include <sys/un.h>

#include <vfs/vfs.h>

#include "files_private.h"

/* Descriptors under way. */
struct unix_fd_array {
    struct unix_fd_array *next;    /* unix_fds_free */
    struct unix_flight_user *user; /* whose they are */
    unsigned count;
    struct file *files[]; /* references */
};
struct unix_fds {
    struct unix_fd_array *array; /* NULL when none */
    unsigned count;
};

/* A datagram or a sequenced packet. */
struct unix_message {
    struct list_head link;
    struct sock *from; /* reference; charged */
    size_t size;
    struct ucred cred;
    struct unix_fds fds;
    int64_t time_ns; /* when it came, if the receiver wants to know; 0 */
    bool peeked;
    char data[];
};

/* A piece of a stream. */
struct unix_chunk {
    struct list_head link;
    uint32_t size, start, end; /* bytes of data[]; unread ones */
    char data[];
};

/* Bytes [from, to) of a stream that came with descriptors or credentials. */
struct unix_mark {
    struct list_head link;
    uint64_t from, to;
    struct ucred cred;
    struct unix_fds fds;
};

struct sock {
    struct socket base;
    struct refcount ref; /* the file, the peer, messages from it */
    /* Reference. Streams and packets: set once, by connect, under lock; read without. Datagrams:
     * changes under lock. */
    _Atomic(struct sock *) peer;
    struct fmutex recv_lock, send_lock; /* RANK_FILE: receivers; those who send a stream to it */
    _Atomic(size_t) charged;            /* bytes it has sent and nobody has received */
    _Atomic(int32_t) peek_offset;       /* SO_PEEK_OFF; -1 off */

    struct spin lock;  /* RANK_OBJECT; below it: */
    struct file *file; /* no reference; NULL: none yet, or gone */
    struct list_head messages;
    uint32_t message_count;
    struct list_head chunks, marks;
    uint64_t head, tail;       /* stream: bytes ever received, sent */
    bool writing;              /* a sender copies behind the last chunk's end */
    bool urgent, urgent_taken; /* a byte of MSG_OOB that nobody has read past; it was read aside */
    char urgent_byte;
    uint64_t urgent_at; /* its place */
    bool rcv_shut, snd_shut;
    bool dead;              /* file closed */
    _Atomic(bool) no_space; /* a send found none: SIGIO when there is some */
    int error;              /* SO_ERROR */
    struct ucred peer_cred;
    uint32_t send_size, recv_size;     /* SO_SNDBUF, SO_RCVBUF (without effect) */
    uint32_t flag_options;             /* SO_REUSEADDR and the like: kept, no effect */
    int32_t low_water, priority, mark; /* SO_RCVLOWAT, SO_PRIORITY, SO_MARK: the same */
    struct linger linger;              /* the same */
    bool pass_cred;

    struct wait_queue wait;
    struct wait_queue room_wait; /* POLLOUT: room for one more message or connection */
    struct waiter peer_room;     /* datagrams: on the peer's room_wait; lock */

    /* unix_fds.c, its lock */
    struct list_head flight_link; /* among the sockets in messages */
    uint32_t in_flight;           /* references to file from messages */
    uint32_t scan;                /* the collector's */

    /* unix_name.c */
    struct list_head name_link; /* of bound ones; g_names_lock. Pending ones: listener's lock */
    struct path path;           /* what it is bound to, reference; g_names_lock */
    struct sockaddr_un name;    /* written once, before name_len */
    _Atomic(uint32_t) name_len; /* 0: none */
    bool listening;             /* lock */
    uint32_t backlog, pending_count;
    struct list_head pending; /* connected, not accepted (in their name_link); lock */
    uint64_t cookie;
    _Atomic(uint64_t) ino;       /* its file's; 0 before accept */
    struct list_head all_link;   /* unix_list.c */
    uint64_t file_ino, file_dev; /* of path; written once, before name_len */
};

/* Messages a datagram socket queues from those that are not its peer, less one, as
 * net.unix.max_dgram_qlen; what one costs its sender's buffer. */
#define DGRAM_QUEUE_MAX 10u
size_t unix_message_charge(size_t size);

/* Memory of all that queues in AF_UNIX sockets. Beyond it each socket may still have a little under way,
 * so that those who are not to blame get on; longer messages are -ENOBUFS. */
#define UNIX_BYTES_MAX ((size_t)256 << 20)
#define UNIX_BYTES_EACH 2048u

#define SOCKET_INFLIGHT_MAX 16384u /* descriptors inside messages of the sandbox */

/* socket_msg.family_data of what was received. */
#define UNIX_DATA_TIME 1
#define UNIX_DATA_TIMED 2
#define UNIX_FAMILY_LEN ((uint32_t)offsetof(struct sockaddr_un, sun_path))

/* --- unix.c --- */

struct sock *file_sock(const struct file *f);
struct sock *sock_alloc(int type); /* NULL: no memory */
/* Takes over @s, also on error. @type: SOCK_NONBLOCK. */
struct file *sock_file_new(struct sock *s, int type);
void sock_put(struct sock *s);
/* Its file is gone, or never came: what queues on it goes, the peer learns. Drops the reference. */
void sock_end(struct sock *s);
void sock_shut(struct sock *s, bool rcv, bool snd, int error);
struct ucred sock_cred_of_current(void);
/* What goes with data from @s to @to; none unless one of them asked for it. */
struct ucred sock_cred_to_send(const struct sock *s, const struct sock *to,
                               const struct socket_msg *m);
/* The peer of a datagram socket, a reference; NULL. */
struct sock *sock_peer_get(struct sock *s);
/* 0, or why nothing can be sent: takes the pending error. */
int sock_send_check(struct sock *s);
/* @n bytes from @s have been received, or thrown away: it may have room to send again. */
void sock_uncharge(struct sock *s, size_t n);
/* Memory that queues takes, or gives back. */
void unix_bytes_take(size_t n);
void unix_bytes_give(size_t n);
bool unix_bytes_short(void);
/* What @s may have under way now. */
static inline uint32_t sock_send_size(const struct sock *s)
{
    return unlikely(unix_bytes_short()) ? MIN(s->send_size, UNIX_BYTES_EACH) : s->send_size;
}
/* Linux' rule for POLLOUT: a quarter of the buffer is used at most. */
static inline bool sock_writable(const struct sock *s)
{
    return s->charged * 4 <= sock_send_size(s);
}
static inline bool sock_connected(const struct sock *s)
{
    return s->peer;
}

/* --- unix_stream.c, unix_message.c: @m NULL: data only --- */

ssize_t unix_stream_send(struct sock *s, struct uio *u, const struct socket_msg *m, int flags);
ssize_t unix_stream_receive(struct sock *s, struct uio *u, struct socket_msg *m, int flags);
/* MSG_OOB. */
ssize_t unix_stream_receive_urgent(struct sock *s, struct uio *u, struct socket_msg *m, int flags);
void unix_stream_drop(struct sock *s); /* all that queues */
/* Of datagrams; *ret_full: -EAGAIN is because of this one's queue (a reference), or NULL. */
ssize_t unix_message_send(struct sock *s, struct uio *u, const struct socket_msg *m,
                          struct sock **ret_full);
ssize_t unix_message_receive(struct sock *s, struct uio *u, struct socket_msg *m, int flags);
bool unix_message_drop(struct sock *s);         /* true: there were any */
void unix_message_free(struct unix_message *b); /* one that is on no queue */
/* Would a message from @s find no place at @to? Lock of neither held. */
bool unix_message_full(struct sock *s, struct sock *to);
int unix_dgram_connect(struct sock *s, struct sock *to); /* @to: reference, taken over; NULL */

/* --- unix_fds.c --- */

/* Copies of the pointers: references move with unix_fds_send(). -ETOOMANYREFS, -ENOMEM. */
int unix_fds_attach(struct unix_fds *fds, const struct socket_msg *m);
void unix_fds_abandon(struct unix_fds *fds); /* they were not given after all */
/* Between these two descriptors enter or leave queues; one spin lock for all. */
void unix_fds_lock(void);
void unix_fds_unlock(void);
void unix_fds_enter_locked(const struct unix_fds *fds);
void unix_fds_leave_locked(const struct unix_fds *fds);
/* The receiver's now (@peek: references of its own). */
void unix_fds_give(struct unix_fds *fds, struct socket_msg *m, bool peek);
void unix_fds_free(struct unix_fds *fds); /* those that were in a queue: not any more */
/* A socket was closed: find those that nobody can reach any more. */
void unix_fds_collect(void);

int32_t sock_bytes_queued_locked(const struct sock *s); /* unix.c: what there is to read */

/* --- unix_list.c --- */

void unix_list_add(struct sock *s);    /* gives it its cookie */
void unix_list_remove(struct sock *s); /* if it is there */

/* --- unix_name.c, unix_option.c --- */

int unix_bind(struct task *t, struct file *f, const struct sockaddr *addr, uint32_t len);
int unix_bind_auto(struct sock *s); /* nothing to do when it has a name */
sysret_t unix_connect(struct call *c, struct file *f, const struct sockaddr *addr, uint32_t len);
int unix_listen(struct file *f, int backlog);
struct file *unix_accept(struct file *f, uint32_t flags);
int unix_name(struct file *f, bool peer, struct sockaddr_storage *ret);
void unix_name_copy(const struct sock *s, struct socket_msg *m); /* as the sender's */
int unix_destination(struct file *f, const struct sockaddr *addr, uint32_t len);
/* The socket of that name that may be sent or connected to: a reference. -ENOENT, -EACCES,
 * -ECONNREFUSED, -EPROTOTYPE ... */
struct sock *unix_find(const struct sockaddr_un *name, uint32_t len, int type);
int unix_option_get(struct file *f, int level, int name, void *buf, uint32_t *len);
int unix_option_set(struct file *f, int level, int name, const void *buf, uint32_t len);
bool unix_wants_cred(struct file *f);
bool unix_wants_time(const struct sock *s);
bool unix_oob_inline(const struct sock *s);
void unix_control_out(struct file *f, struct socket_msg *m, struct control_out *o);
/* The name goes, and connections that nobody has accepted. */
void sock_name_end(struct sock *s);

#endif
