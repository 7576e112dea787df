/* SPDX-License-Identifier: Apache-2.0
 * client.h - a plain blocking 9P client over a socketpair to a forked server, for tests. */
#ifndef TESTS_GOFER_CLIENT_H
#define TESTS_GOFER_CLIENT_H

#include <sys/types.h>

#include <p9/wire.h>

struct client {
    int sock;
    pid_t pid;
    int last_fd;  /* donated with the last reply, or -1; the caller's */
    char dir[64]; /* exported writable as "", read-only as "ro" */
    uint8_t buf[P9_MSIZE_DEFAULT];
    size_t len;
};

/* Fork a server for a fresh temporary directory; version NULL: no handshake. Fids 0 (rw), 1 (ro).
 */
void client_start(struct client *c, const char *version, bool donate);
int client_stop(struct client *c); /* exit status of the server; removes the directory */
/* Send n bytes of c->out style buffer and receive one reply into c->buf; what is told unasked before it is
 * lost. 0 or -1 at EOF. */
int client_exchange(struct client *c, const void *msg, size_t n);
int client_receive(struct client *c);
void client_path(const struct client *c, const char *name, char ret[256]);
int client_wait(struct client *c); /* wait for the server's end without closing */

/* rpc(c, twalk, rwalk, &reply, .fid = ...): 0 with *reply, or -ecode; fails the test on nonsense.
 */
int client_result(struct client *c, uint8_t want);
#define rpc(c, tname, rname, reply, ...)                                        \
    __extension__({                                                             \
        static uint8_t rpc_buf[70000]; /* too large for a fiber's stack */      \
        struct p9_##tname rpc_m = {.tag = 1, __VA_ARGS__};                      \
        int rpc_n = p9_encode_##tname(rpc_buf, sizeof rpc_buf, &rpc_m);         \
        int rpc_r = rpc_n < 0 || client_exchange(c, rpc_buf, (size_t)rpc_n) < 0 \
                        ? -1000                                                 \
                        : client_result(c, P9_##rname);                         \
        if (rpc_r == 0 && p9_decode_##rname((c)->buf, (c)->len, reply) < 0)     \
            rpc_r = -1001;                                                      \
        rpc_r;                                                                  \
    })
#define STR(x) p9_str_from(x)
#define ONE(x)                                 \
    {                                          \
        .count = 1, .name = { p9_str_from(x) } \
    }

#endif
