/* SPDX-License-Identifier: Apache-2.0
 * net.h - the families AF_INET, AF_INET6 and AF_NETLINK, on one loopback interface. */
#ifndef NET_NET_H
#define NET_NET_H

/* At boot: makes the families known (files/socket_ops.h). */
void net_init(void);

#endif
