/* SPDX-License-Identifier: Apache-2.0
 * proc_net.c - /proc/net: sockets, and the one interface lo with its addresses and routes.
 *
 * What depends on sockets is made by net/proc_net.c; the rest never changes. Nothing is counted: there
 * are no packets. */
#include <stdlib.h>

#include "proc.h"
#include "pseudo.h"
#include "text.h"

int (*procfs_net_show)(const char *name, char **ret_text, size_t *ret_len);

static int net_show(struct text *t, const char *name)
{
    char *all autofree = NULL;
    size_t len = 0;
    int r = procfs_net_show ? procfs_net_show(name, &all, &len) : 0;

    if (!r)
        text_add(t, all, len);
    return r;
}

#define NET_SHOW(name)                                                        \
    static int name##_show(struct text *t, const struct pseudo_key *k UNUSED) \
    {                                                                         \
        return net_show(t, #name);                                            \
    }
NET_SHOW(tcp)
NET_SHOW(tcp6)
NET_SHOW(udp)
NET_SHOW(udp6)
NET_SHOW(raw)
NET_SHOW(raw6)
NET_SHOW(unix)
NET_SHOW(sockstat)
NET_SHOW(sockstat6)
NET_SHOW(snmp)

#define ANY "00000000000000000000000000000000"
#define ONE "00000000000000000000000000000001"
#define UNREACHABLE ANY " 00 " ANY " 00 " ANY " ffffffff 00000001 00000000 00200200       lo\n"

const struct pseudo_node proc_net_nodes[] = {
    PSEUDO_TEXT(
        "dev", "Inter-|   Receive                                                |  Transmit\n"
               " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets "
               "errs drop fifo colls carrier compressed\n"
               "    lo:       0       0    0    0    0     0          0         0        0       0 "
               "   0    0    0     0       0          0\n"),
    PSEUDO_FILE("tcp", tcp_show),
    PSEUDO_FILE("tcp6", tcp6_show),
    PSEUDO_FILE("udp", udp_show),
    PSEUDO_FILE("udp6", udp6_show),
    PSEUDO_FILE("raw", raw_show),
    PSEUDO_FILE("raw6", raw6_show),
    PSEUDO_FILE("unix", unix_show),
    PSEUDO_FILE("sockstat", sockstat_show),
    PSEUDO_FILE("sockstat6", sockstat6_show),
    PSEUDO_FILE("snmp", snmp_show),
    PSEUDO_TEXT("route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\t"
                         "Window\tIRTT                                                       \n"),
    PSEUDO_TEXT("arp", "IP address       HW type     Flags       HW address            Mask     "
                       "Device\n"),
    PSEUDO_TEXT("if_inet6", ONE " 01 80 10 80       lo\n"),
    PSEUDO_TEXT("ipv6_route",
                UNREACHABLE ONE " 80 " ANY " 00 " ANY
                                " 00000000 00000002 00000000 80200001       lo\n" UNREACHABLE),
    PSEUDO_TEXT("dev_mcast", ""),
    PSEUDO_TEXT("protocols", ""),
    PSEUDO_TEXT("netlink", "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks "
                           "   Drops    Inode\n"),
    PSEUDO_END,
};
