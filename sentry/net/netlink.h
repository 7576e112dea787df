/* SPDX-License-Identifier: Apache-2.0
 * netlink.h - between netlink.c (sockets) and route.c (what NETLINK_ROUTE answers). */
#ifndef NET_NETLINK_H
#define NET_NETLINK_H

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <base/list.h>
#include <files/files.h>

#define NETLINK_REQUEST_MAX 32768u /* bytes of one send */
#define NETLINK_ANSWER_MAX 8192u   /* bytes of one message; all answers are shorter */
#define NETLINK_QUEUE_MAX 212992u  /* bytes queued on one socket; more is ENOBUFS */

/* An answer in the making. Nothing is written past the end; `failed` tells. */
struct nl_out {
    char *buf;
    size_t used;
    size_t message; /* where the current message begins */
    uint32_t seq, portid;
    uint16_t flags; /* of each message: NLM_F_MULTI */
    bool failed;
};
/* A dump that goes on when its reader has taken what there is: one for each socket. */
struct nl_dump {
    _Atomic(bool) on;
    uint32_t seq;
    uint8_t family, protocol, ext; /* ext: which attributes (INET_DIAG_*), bit by number - 1 */
    uint32_t show;                 /* UDIAG_SHOW_* */
    uint32_t states;               /* bits by TCP state */
    int32_t error;                 /* it ends with that at once; 0 */
    uint64_t at, skip;             /* bucket and sockets of it, or cookie: what is done */
};

void nl_begin(struct nl_out *o, uint16_t type, const void *body, size_t len);
void nl_attr(struct nl_out *o, uint16_t type, const void *data, size_t len);
void nl_end(struct nl_out *o);

/* Answer one request (header checked) with messages in @o. @len: of the body. *ret_dump: a
 * NLMSG_DONE follows. 0 or the errno for NLMSG_ERROR. */
int route_answer(struct nl_out *o, const struct nlmsghdr *h, const void *body, size_t len,
                 bool *ret_dump);

/* The same for NETLINK_SOCK_DIAG: it begins a dump. */
int diag_request(struct nl_dump *ret, const struct nlmsghdr *h, const void *body, size_t len);
/* More messages, as many as fit; true: that was all. */
bool diag_more(struct nl_dump *d, struct nl_out *o);

extern const struct socket_family netlink_family;

#endif
