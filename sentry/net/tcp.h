/* SPDX-License-Identifier: Apache-2.0
 * tcp.h - the TCP socket, for tcp.c (connections), tcp_data.c (bytes), tcp_listen.c, tcp_opt.c. */
#ifndef NET_TCP_H
#define NET_TCP_H

#include <kernel/timer.h>

#include "inet.h"

#define TCP_RING_MIN 4096u          /* first allocation of a ring */
#define TCP_RING_ACTIVE 262144u     /* a ring whose reader keeps up does not grow beyond */
#define TCP_RING_MAX (8u << 20)     /* whatever SO_SNDBUF and SO_RCVBUF say */
#define TCP_SEND_SIZE 16384u        /* SO_SNDBUF of a fresh socket, as tcp_wmem */
#define TCP_SEND_CONNECTED 2626560u /* and of a connected one that did not set it */
#define TCP_RECV_SIZE 131072u       /* as tcp_rmem */
#define TCP_FORMER_MAX 64u          /* peers one socket has had, by connect(AF_UNSPEC) */

/* As in struct tcp_info and /proc/net/tcp. Closing states are what both sides' flags say. */
enum tcp_state { TCP_ST_CLOSE, TCP_ST_SYN_SENT, TCP_ST_CONNECTED, TCP_ST_LISTEN };
/* connect(2)'s view, as Linux' socket states. */
enum tcp_phase { PHASE_UNCONNECTED, PHASE_CONNECTING, PHASE_CONNECTED, PHASE_DISCONNECTING };

struct tcp_sock {
    struct inet_sock i;            /* i.lock guards what follows unless said otherwise */
    _Atomic(enum tcp_state) state; /* these and the flags are also read without the lock */
    _Atomic(enum tcp_phase) phase;
    /* Reference, as long as this socket lives; set by connect, cleared by connect(AF_UNSPEC), which
     * keeps the reference in former. */
    _Atomic(struct tcp_sock *) peer;
    struct tcp_sock **former; /* whoever sends may still look at them */
    uint32_t former_count;
    _Atomic(bool) rcv_shut; /* nothing more is read: FIN, reset, or shutdown */
    _Atomic(bool)
        snd_shut; /* nothing more is sent: shutdown, also before the connection was made */
    _Atomic(bool) fin_sent;
    _Atomic(bool) fin;      /* the peer's FIN has come: reads end with 0, not with an error */
    _Atomic(bool) dead;     /* the file is closed */
    _Atomic(bool) no_space; /* a send found none: SIGIO when there is some */

    /* What arrives: a ring that is replaced (larger) under both mutexes and the lock. */
    struct fmutex read_lock, write_lock; /* RANK_FILE; write_lock first when both */
    char *ring;
    uint32_t size;       /* of ring, a power of two; 0: none yet */
    uint32_t cap;        /* size when a sender was told last that it is full; grown: no limit */
    uint64_t head, tail; /* bytes ever, mod size: filled to, emptied to */
    uint64_t full_tail;  /* tail when the ring was full last */
    int32_t reader_tid;  /* who read last */
    bool writing;        /* somebody copies at head: the counters must not be reset */
    bool urgent;         /* an urgent byte has come */
    bool urgent_taken;
    uint64_t urgent_at; /* its place */
    char urgent_byte;

    /* Listening. Children in pending and deferred, clients in syns: each with a reference. */
    uint32_t backlog, pending_count; /* children made, not accepted */
    struct list_head pending;        /* by link */
    struct list_head syns, deferred; /* by link; g_halfway_lock */
    struct list_head link;
    _Atomic(struct tcp_sock *)
        listener;       /* while in syns or deferred: a reference; g_halfway_lock */
    struct timer timer; /* of a connect that waits, of a deferred child */
    bool timer_used;
    char congestion[16];
};

static inline struct tcp_sock *inet_tcp(struct inet_sock *s)
{
    return container_of(s, struct tcp_sock, i);
}
static inline struct tcp_sock *file_tcp(const struct file *f)
{
    return f->private_data;
}
static inline void tcp_put(struct tcp_sock *s)
{
    if (s)
        inet_put(&s->i);
}
static inline uint32_t tcp_held_locked(const struct tcp_sock *s)
{
    return (uint32_t)(s->head - s->tail);
}
/* How much may be on its way from @s to @to. */
static inline uint32_t tcp_limit(const struct tcp_sock *s, const struct tcp_sock *to)
{
    uint32_t send = s->i.send_size_set ? s->i.send_size / 2 : TCP_SEND_CONNECTED;
    uint32_t recv = to->i.recv_size_set ? to->i.recv_size / 2 : TCP_RECV_SIZE;

    return MIN(send + recv, TCP_RING_MAX);
}
/* Would poll() say POLLOUT? As Linux: a third is free. to->i.lock held. */
static inline bool tcp_writable_locked(const struct tcp_sock *s, const struct tcp_sock *to)
{
    return (uint64_t)tcp_held_locked(to) * 3 <= (uint64_t)MIN(tcp_limit(s, to), to->cap) * 2;
}

extern const struct file_ops tcp_ops;

/* tcp.c */
struct tcp_sock *tcp_alloc(int domain, int protocol);
void tcp_wake(struct tcp_sock *s); /* everything may have changed */
/* The peer @from sends nothing more. */
void tcp_finish(struct tcp_sock *s, const struct tcp_sock *from);
/* The peer @from resets @s: ECONNRESET, or EPIPE after its FIN. */
void tcp_reset(struct tcp_sock *s, const struct tcp_sock *from);
void tcp_fail(struct tcp_sock *s, int error); /* a connect did not come about */
/* The end of a socket without a file, or whose file is closed: the peer gets a FIN, or with @reset or
 * when something is unread a reset. Drops the caller's reference. */
void tcp_end(struct tcp_sock *s, bool reset);

/* tcp_listen.c */
void tcp_listen_init(void);
int tcp_listen(struct file *f, int backlog);
struct file *tcp_accept(struct file *f, uint32_t flags);
/* @s, named, to @l: connected, or waiting in its queue (SYN_SENT), or -ECONNREFUSED, -ENOBUFS. */
int tcp_knock(struct tcp_sock *s, struct tcp_sock *l);
/* @s leaves the queue it waits in, if it does: the caller may then decide what becomes of it. */
bool tcp_halfway_leave(struct tcp_sock *s);
void tcp_arrived(struct tcp_sock *child); /* first data: TCP_DEFER_ACCEPT is over */
void tcp_listener_end(struct tcp_sock *l);

/* tcp_opt.c */
int tcp_option_get(struct inet_sock *s, int name, void *buf, uint32_t *len);
int tcp_option_set(struct inet_sock *s, int name, const void *buf, uint32_t len);
unsigned tcp_state_number(struct tcp_sock *s); /* Linux' TCP_ESTABLISHED ... */

/* tcp_data.c */
ssize_t tcp_send_uio(struct tcp_sock *s, struct uio *u, int flags);
ssize_t tcp_receive_uio(struct tcp_sock *s, struct uio *u, int flags, int *ret_flags);
void tcp_ring_free(struct tcp_sock *s);

#endif
