/* SPDX-License-Identifier: Apache-2.0
 * net.h - the families AF_INET, AF_INET6 and AF_NETLINK, on one loopback interface. */
#ifndef NET_NET_H
#define NET_NET_H

#include <stddef.h>
#include <stdint.h>

/* At boot: makes the families known (files/socket_ops.h). */
void net_init(void);
/* The text of /proc/net/@name (tcp, udp, raw, each also with 6, unix, sockstat, sockstat6, snmp),
 * allocated. -ENOMEM. */
int proc_net_show(const char *name, char **ret_text, size_t *ret_len);

/* Memory of all TCP rings: at most NET_BUFFER_BYTES_MAX, and the smallest ring for each socket. */
uint64_t net_ring_bytes(void);
uint64_t net_datagram_bytes(void); /* of all datagrams that queue; the same limit */

#endif
