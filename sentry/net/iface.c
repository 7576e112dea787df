/* SPDX-License-Identifier: Apache-2.0
 * iface.c - ioctls on the one interface, lo: SIOCGIF*. Every socket has them.
 *
 * Guests give names and sizes; both are copied once. Nothing can be changed: -EPERM. */
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>

#include <kernel/task.h>

#include "inet.h"

#define LO_NAME "lo"

static struct sockaddr v4_address(uint32_t host_order)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(host_order)}};
    struct sockaddr sa;

    memcpy(&sa, &in, sizeof(sa));
    return sa;
}

/* The list of interfaces with IPv4 addresses: as many as there is room for; without a buffer, the
 * size it takes. */
static sysret_t list_get(struct task *t, uint64_t arg)
{
    struct ifconf conf;
    struct ifreq r = {.ifr_name = LO_NAME};

    if (copy_in_obj(t->mm, &conf, UADDR(arg)))
        return -EFAULT;
    r.ifr_addr = v4_address(INADDR_LOOPBACK);
    if (conf.ifc_buf) {
        bool fits = conf.ifc_len >= (int)sizeof(r);
        conf.ifc_len = fits ? (int)sizeof(r) : 0;
        if (fits && copy_out_obj(t->mm, UADDR((uintptr_t)conf.ifc_buf), &r))
            return -EFAULT;
    } else {
        conf.ifc_len = (int)sizeof(r);
    }
    return copy_out_obj(t->mm, UADDR(arg), &conf);
}

static int interface_get(uint32_t cmd, struct ifreq *r)
{
    switch (cmd) {
    case SIOCGIFFLAGS:
        r->ifr_flags = IFF_UP | IFF_LOOPBACK | IFF_RUNNING;
        return 0;
    case SIOCGIFADDR:
        r->ifr_addr = v4_address(INADDR_LOOPBACK);
        return 0;
    case SIOCGIFNETMASK:
        r->ifr_netmask = v4_address(0xff000000);
        return 0;
    case SIOCGIFBRDADDR:
    case SIOCGIFDSTADDR:
        r->ifr_broadaddr = v4_address(cmd == SIOCGIFDSTADDR ? INADDR_LOOPBACK : 0);
        return 0;
    case SIOCGIFMETRIC:
        r->ifr_metric = 0;
        return 0;
    case SIOCGIFMTU:
        r->ifr_mtu = LO_MTU;
        return 0;
    case SIOCGIFHWADDR:
        memset(&r->ifr_hwaddr, 0, sizeof(r->ifr_hwaddr));
        r->ifr_hwaddr.sa_family = ARPHRD_LOOPBACK;
        return 0;
    case SIOCGIFINDEX:
        r->ifr_ifindex = LO_INDEX;
        return 0;
    case SIOCGIFTXQLEN:
        r->ifr_qlen = 1000;
        return 0;
    case SIOCGIFMAP:
        memset(&r->ifr_map, 0, sizeof(r->ifr_map));
        return 0;
    default:
        return -ENOTTY;
    }
}

sysret_t iface_ioctl(struct task *t, uint32_t cmd, uint64_t arg)
{
    struct ifreq r;

    if (cmd == SIOCGIFCONF)
        return list_get(t, arg);
    if (cmd == SIOCSIFFLAGS || cmd == SIOCSIFADDR || cmd == SIOCSIFNETMASK || cmd == SIOCSIFMTU)
        return -EPERM;
    if (cmd < SIOCGIFNAME || cmd > SIOCGIFMAP)
        return -ENOTTY;
    if (copy_in_obj(t->mm, &r, UADDR(arg)))
        return -EFAULT;
    if (cmd == SIOCGIFNAME) {
        if (r.ifr_ifindex != LO_INDEX)
            return -ENODEV;
        memset(r.ifr_name, 0, sizeof(r.ifr_name));
        memcpy(r.ifr_name, LO_NAME, sizeof(LO_NAME));
    } else {
        r.ifr_name[sizeof(r.ifr_name) - 1] = 0;
        if (strcmp(r.ifr_name, LO_NAME))
            return -ENODEV;
        int err = interface_get(cmd, &r);
        if (err)
            return err;
    }
    return copy_out_obj(t->mm, UADDR(arg), &r);
}
