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
void nl_begin(struct nl_out *o, uint16_t type, const void *body, size_t len);
void nl_attr(struct nl_out *o, uint16_t type, const void *data, size_t len);
void nl_end(struct nl_out *o);

/* Answer one request (header checked) with messages in @o. @len: of the body. *ret_dump: a
 * NLMSG_DONE follows. 0 or the errno for NLMSG_ERROR. */
int route_answer(struct nl_out *o, const struct nlmsghdr *h, const void *body, size_t len,
                 bool *ret_dump);

extern const struct socket_family netlink_family;

#endif
