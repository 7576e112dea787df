# SPDX-License-Identifier: Apache-2.0
add_component(net sentry/net
    SOURCES diag.c iface.c inet.c inet_addr.c inet_opt.c inet_port.c netlink.c proc_net.c route.c tcp.c tcp_data.c tcp_listen.c tcp_opt.c udp.c
        udp_msg.c
    USES files)
