/* SPDX-License-Identifier: Apache-2.0
 * relay.h - a process between client and server that may rewrite what passes. */
#ifndef TESTS_P9FS_RELAY_H
#define TESTS_P9FS_RELAY_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct relay {
    pid_t pid;
    int sock; /* the client's end; taken by p9fs_new() */
};
/* May change a message in place (cap bytes of room): new length; 0 drops it; -1 ends the relay. */
typedef int64_t relay_fn(uint8_t *msg, size_t len, size_t cap, uint64_t seed);
/* @drop_fds: donated descriptors do not arrive. */
void relay_start(struct relay *r, int server_sock, relay_fn *request, relay_fn *reply,
                 uint64_t seed, int drop_fds);
void relay_stop(struct relay *r);
/* Turns the version asked for into plain 9P2000.L. */
int64_t relay_plain(uint8_t *msg, size_t len, size_t cap, uint64_t seed);

#endif
