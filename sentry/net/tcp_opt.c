/* SPDX-License-Identifier: Apache-2.0
 * tcp_opt.c - options of level IPPROTO_TCP that are more than a number, and TCP_INFO.
 *
 * Without packets most numbers are constants: no loss, no round trip worth the name, a window that
 * is the room in the peer's ring. Values arrive as copies. Lock: the socket's. */
#include <netinet/tcp.h>
#include <string.h>

#include "tcp.h"

#define LO_MSS 65483u /* of the loopback interface, IPv4 */
#define RTO_US 200000u
#define RTT_US 20u

unsigned tcp_state_number(struct tcp_sock *s)
{
    switch (atomic_load(&s->state)) {
    case TCP_ST_LISTEN:
        return TCP_LISTEN;
    case TCP_ST_SYN_SENT:
        return TCP_SYN_SENT;
    case TCP_ST_CONNECTED:
        if (s->fin)
            return TCP_CLOSE_WAIT;
        return s->fin_sent ? TCP_FIN_WAIT2 : TCP_ESTABLISHED;
    default:
        return TCP_CLOSE;
    }
}

uint8_t tcp_shutdown_bits(const struct inet_sock *i)
{
    const struct tcp_sock *s = container_of(i, const struct tcp_sock, i);

    return (uint8_t)((s->rcv_shut ? 1 : 0) | (s->snd_shut ? 2 : 0));
}

static void info_fill(struct tcp_sock *s, struct tcp_info *i)
{
    struct tcp_sock *peer = s->peer;

    memset(i, 0, sizeof(*i));
    i->tcpi_state = (uint8_t)tcp_state_number(s);
    i->tcpi_rto = RTO_US;
    i->tcpi_pmtu = LO_MTU;
    i->tcpi_snd_ssthresh = INT32_MAX;
    i->tcpi_snd_cwnd = 10;
    i->tcpi_reordering = 3;
    i->tcpi_snd_mss = i->tcpi_rcv_mss = 536;
    if (s->state == TCP_ST_LISTEN) {
        i->tcpi_unacked = s->pending_count; /* as Linux shows the accept queue */
        i->tcpi_sacked = s->backlog;
        return;
    }
    if (!peer)
        return;
    i->tcpi_options = TCPI_OPT_TIMESTAMPS | TCPI_OPT_SACK | TCPI_OPT_WSCALE;
    i->tcpi_snd_wscale = i->tcpi_rcv_wscale = 7;
    i->tcpi_ato = 40000;
    i->tcpi_snd_mss = i->tcpi_advmss = LO_MSS;
    i->tcpi_rcv_mss = 536;
    i->tcpi_rtt = i->tcpi_rcv_rtt = RTT_US;
    i->tcpi_rttvar = RTT_US / 2;
    i->tcpi_rcv_ssthresh = i->tcpi_rcv_space = TCP_RECV_SIZE / 2;
}

static const char *const congestion_known[] = {"cubic", "reno"};

int tcp_option_get(struct inet_sock *i, int name, void *buf, uint32_t *len)
{
    struct tcp_sock *s = inet_tcp(i);

    if (name == TCP_INFO) {
        struct tcp_info info;
        spin_lock(&i->lock);
        info_fill(s, &info);
        spin_unlock(&i->lock);
        option_store(buf, len, &info, sizeof(info));
        return 0;
    }
    if (name == TCP_CONGESTION) {
        char shown[16] = "cubic";
        if (s->congestion[0])
            memcpy(shown, s->congestion, sizeof(shown));
        option_store(buf, len, shown, sizeof(shown));
        return 0;
    }
    return -ENOPROTOOPT;
}

int tcp_option_set(struct inet_sock *i, int name, const void *buf, uint32_t len)
{
    struct tcp_sock *s = inet_tcp(i);
    char wanted[16] = {0};

    if (name != TCP_CONGESTION && len < sizeof(int32_t))
        return -EINVAL;
    if (name != TCP_CONGESTION)
        return -ENOPROTOOPT;
    memcpy(wanted, buf, MIN(len, (uint32_t)sizeof(wanted) - 1));
    for (size_t k = 0; k < ARRAY_SIZE(congestion_known); k++) {
        if (strcmp(wanted, congestion_known[k]))
            continue;
        memcpy(s->congestion, wanted, sizeof(wanted)); /* kept; there is no congestion */
        return 0;
    }
    return -ENOENT;
}
