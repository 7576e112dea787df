/* SPDX-License-Identifier: Apache-2.0
 * inet.h - what AF_INET and AF_INET6 sockets share: addresses, options, ports.
 *
 * There is one interface, lo, with 127.0.0.0/8 and ::1. An IPv4 address is kept as its mapped IPv6
 * one, so that there is one kind of address inside. */
#ifndef NET_INET_H
#define NET_INET_H

#include <netinet/in.h>
#include <signal.h>

#include <base/list.h>
#include <base/refcount.h>
#include <files/files.h>
#include <kernel/async.h>

#define NET_BUFFER_BYTES_MAX (256u << 20) /* data inside all inet sockets of the sandbox */
#define PORT_FIRST 32768u                 /* chosen ports, as ip_local_port_range says */
#define PORT_LAST 60999u
#define PORT_UNPRIVILEGED 1024u
#define LO_INDEX 1
#define LO_MTU 65536

struct inet_name {
    struct in6_addr ip;
    uint16_t port; /* host order; 0 none */
};

enum inet_option {
#define OPTION(id, ...) OPT_##id,
#include "options.def"
#undef OPTION
    OPT_COUNT
};

struct port_table;

/* Begins every inet socket. */
struct inet_sock {
    struct socket base;
    struct refcount ref; /* the file or the accept queue; the peer; whoever works with it */
    struct spin lock;    /* RANK_OBJECT; two: the listener's, then its client's */
    struct wait_queue wait;
    _Atomic(int) error; /* SO_ERROR */
    uint32_t uid;       /* who made it */
    uint64_t ino;       /* its file's; 0 before accept */
    void (*free)(struct inet_sock *s);

    /* Under the port table's lock; local and remote are read without while the socket is bound or
     * connected and nobody may change them. */
    struct inet_name local, remote;
    bool port_fixed, ip_fixed; /* the guest chose them; others go with the connection */
    bool listening;            /* in the table's listeners */
    struct list_head port_link, listen_link;

    _Atomic(int32_t) opt[OPT_COUNT];
    _Atomic(uint32_t) send_size, recv_size; /* SO_SNDBUF, SO_RCVBUF as shown */
    _Atomic(bool) send_size_set, recv_size_set;
    _Atomic(int32_t) linger_s;        /* -1: off */
    _Atomic(uint32_t) multicast_from; /* IP_MULTICAST_IF, network order */
    _Atomic(int32_t) multicast_index; /* IPV6_MULTICAST_IF */
    _Atomic(bool) wants_time;         /* SO_TIMESTAMP and the like */
};

static inline struct inet_sock *file_inet(const struct file *f)
{
    return f->private_data;
}
static inline int32_t inet_opt(const struct inet_sock *s, enum inet_option o)
{
    return atomic_load_explicit(&s->opt[o], memory_order_relaxed);
}
static inline bool inet_is_tcp(const struct inet_sock *s)
{
    return s->base.type == SOCK_STREAM;
}
/* The pending error, which it is then no more. */
int inet_error_take(struct inet_sock *s);

void inet_init(struct inet_sock *s, int domain, int type, int protocol,
               void (*free)(struct inet_sock *s));
static inline void inet_get(struct inet_sock *s)
{
    refcount_get(&s->ref);
}
void inet_put(struct inet_sock *s); /* ignores NULL */
/* A fresh socket gets what @from has: options, sizes. */
void inet_inherit(struct inet_sock *s, const struct inet_sock *from);

/* --- inet_addr.c --- */

static inline bool ip_is_v4(const struct in6_addr *a)
{
    return IN6_IS_ADDR_V4MAPPED(a);
}
bool ip_is_any(const struct in6_addr *a); /* :: or mapped 0.0.0.0 */
bool ip_equal(const struct in6_addr *a, const struct in6_addr *b);
bool ip_is_local(const struct in6_addr *a); /* 127.0.0.0/8, ::1 */
struct in6_addr ip_loopback(bool v4);
struct in6_addr ip_any(int domain);
/* An address for a socket of @domain. 0, -EINVAL (length), -EAFNOSUPPORT. @bind: AF_UNSPEC with
 * 0.0.0.0 passes as AF_INET, as Linux allows. */
int inet_name_in(int domain, const struct sockaddr *addr, uint32_t len, bool bind,
                 struct inet_name *ret);
/* As @domain shows it; its length. */
uint32_t inet_name_out(int domain, const struct inet_name *n, struct sockaddr_storage *ret);
/* Where a connect or send goes: any becomes loopback. -ENETUNREACH, -EAFNOSUPPORT (from an IPv4
 * address to an IPv6 one). */
int inet_destination(const struct inet_sock *s, struct inet_name *n);
/* The address packets to @to have when the socket is bound to none. */
struct in6_addr inet_source(const struct inet_name *to);
bool inet_conflict(const struct inet_sock *a,
                   const struct inet_sock *b); /* some address is both's */
/* Does @s receive what is sent to @ip? 0: no; more is more exact. */
unsigned inet_match(const struct inet_sock *s, const struct in6_addr *ip);

/* --- inet_port.c --- */

extern struct port_table g_tcp_ports, g_udp_ports;

void ports_init(void);
/* Gives @s this name. Port 0 chooses one. -EINVAL (has one), -EADDRINUSE, -EACCES, -EADDRNOTAVAIL. */
int port_bind(struct port_table *t, struct inet_sock *s, const struct inet_name *name);
/* connect's: a port if there is none yet, an address if it is any, the peer's name.
 * -EADDRNOTAVAIL: the same pair of names exists, or no port is free. */
int port_connect(struct port_table *t, struct inet_sock *s, const struct inet_name *remote);
/* An accepted socket: both names as given, beside the listener's. */
void port_join(struct port_table *t, struct inet_sock *s, const struct inet_name *local,
               const struct inet_name *remote);
/* The peer's name is gone, and with it an address or (@port) a port that the guest did not choose. */
void port_disconnect(struct port_table *t, struct inet_sock *s, bool port);
/* The connection has ended: a port the guest did not choose is free, although names still show it. */
void port_detach(struct port_table *t, struct inet_sock *s);
/* A port if there is none yet. -EAGAIN. */
int port_auto(struct port_table *t, struct inet_sock *s);
int port_listen(struct port_table *t, struct inet_sock *s); /* -EADDRINUSE */
void port_unlisten(struct port_table *t, struct inet_sock *s);
void port_release(struct port_table *t, struct inet_sock *s);
/* Who listens there (TCP), or receives from @from (UDP); a reference or NULL. */
struct inet_sock *port_find_listener(struct port_table *t, const struct inet_name *to,
                                     const struct inet_name *from);
struct inet_sock *port_find_receiver(struct port_table *t, const struct inet_name *to,
                                     const struct inet_name *from);
/* Calls fn for each bound socket, table locked: fn must not take long. */
void port_each(struct port_table *t, void (*fn)(struct inet_sock *s, void *arg), void *arg);
#define PORT_BUCKETS 1024u
/* Sockets of one bucket behind the first @skip, until fn says false. False then. */
bool port_bucket_each(struct port_table *t, uint32_t bucket, uint32_t skip,
                      bool (*fn)(struct inet_sock *s, void *arg), void *arg);

/* --- inet_opt.c --- */

void inet_options_default(struct inet_sock *s);
int inet_option_get(struct file *f, int level, int name, void *buf, uint32_t *len);
int inet_option_set(struct file *f, int level, int name, const void *buf, uint32_t len);
void option_store(void *buf, uint32_t *len, const void *value, uint32_t size);

/* Control messages of the time @ns (0: now) at which something came. */
void inet_times_out(struct inet_sock *s, struct socket_msg *m, struct control_out *o, int64_t ns);

/* --- inet.c: operations that TCP and UDP share --- */

int inet_file_name(struct file *f, bool peer, struct sockaddr_storage *ret);
struct file *inet_file_new(struct inet_sock *s, const struct file_ops *ops, int type);

#define UDP_RECV_SIZE 212992u
/* --- tcp.c, udp.c --- */

struct file *tcp_create(int domain, int protocol, int type);
struct file *udp_create(int domain, int protocol, int type);
bool tcp_is_listening(const struct inet_sock *s);
uint8_t tcp_shutdown_bits(const struct inet_sock *s); /* 1 for receiving, 2 for sending */
void tcp_buffers_changed(struct inet_sock *s);
/* Shows one line's worth of state for /proc/net: state number, bytes queued. */
void tcp_show(struct inet_sock *s, unsigned *ret_state, uint32_t *ret_tx, uint32_t *ret_rx);
/* IP_RECVERR is off: what came back is thrown away. */
void udp_errors_off(struct inet_sock *s);
int udp_peek_offset(struct inet_sock *s, const int32_t *set); /* SO_PEEK_OFF; NULL asks */
void udp_show(struct inet_sock *s, unsigned *ret_state, uint32_t *ret_tx, uint32_t *ret_rx);

/* --- iface.c --- */

sysret_t iface_ioctl(struct task *t, uint32_t cmd, uint64_t arg);

#endif
