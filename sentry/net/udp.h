/* SPDX-License-Identifier: Apache-2.0
 * udp.h - the UDP socket, for udp.c (datagrams) and udp_msg.c (what comes beside them). */
#ifndef NET_UDP_H
#define NET_UDP_H

#include "inet.h"

#define UDP_PAYLOAD_MAX 65507u /* 65,535 without the headers */
#define DATAGRAM_OVERHEAD 768u /* charged for each beside its bytes, as Linux' sk_buff */

struct datagram {
    struct list_head link;
    struct inet_name from, to;
    int32_t tos, ttl;
    int64_t time_ns; /* CLOCK_REALTIME, when the receiver wants to know; 0 */
    uint32_t drops;  /* lost before it, as far as the receiver has counted */
    bool peeked;     /* SO_PEEK_OFF has passed it, though it is empty */
    uint8_t err;     /* of those in the error queue: errno, ICMP type, code */
    uint8_t err_type, err_code;
    uint32_t size;
    char data[];
};

struct udp_sock {
    struct inet_sock i;
    struct fmutex recv_lock;
    /* Below i.lock: */
    struct list_head queue;
    struct list_head errors; /* datagrams that came back, for MSG_ERRQUEUE */
    uint32_t queued;         /* bytes charged, of both */
    uint32_t drops;
    _Atomic(int32_t) peek_offset; /* SO_PEEK_OFF; -1 off */
    _Atomic(bool) rcv_shut, snd_shut, dead;
};

static inline struct udp_sock *file_udp(const struct file *f)
{
    return f->private_data;
}
static inline struct udp_sock *inet_udp(struct inet_sock *s)
{
    return container_of(s, struct udp_sock, i);
}

void datagram_free(struct datagram *d);

/* --- udp_msg.c --- */

/* What one datagram is sent with: the socket's options, or control messages of the send. */
struct udp_with {
    bool has_source, has_ttl, has_tos;
    struct in6_addr source;
    int32_t ttl, tos;
};
_Static_assert(sizeof(struct udp_with) <= sizeof(((struct socket_msg *)0)->family_data), "");

int udp_control_in(struct file *f, struct socket_msg *m, int level, int type, const void *data,
                   size_t len);
void udp_control_out(struct file *f, struct socket_msg *m, struct control_out *o);
void udp_describe(const struct udp_sock *s, const struct datagram *d, struct socket_msg *m);
/* @d, sent by @s, came back: nobody receives there. Takes it over. */
void udp_refused(struct udp_sock *s, struct datagram *d);
ssize_t udp_receive_error(struct file *f, struct socket_msg *m, int flags);

#endif
