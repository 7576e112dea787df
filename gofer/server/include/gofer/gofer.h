/* SPDX-License-Identifier: Apache-2.0
 * gofer.h - the file server process: 9P2000.L over one connected stream socket. */
#ifndef GOFER_GOFER_H
#define GOFER_GOFER_H

#include <stdbool.h>
#include <stdint.h>

struct gofer_hidden {
    uint64_t dev, ino;
};

struct gofer_export {
    int root_fd;       /* directory or regular file, O_PATH suffices; stays the caller's */
    const char *aname; /* name in Tattach; "" is the default */
    bool read_only;    /* nothing beneath can be changed through the server */
    const struct gofer_hidden *hidden; /* directories beneath that can be looked at, not entered */
    unsigned hidden_count;
    bool locks; /* Tlock and Tgetlock: locks can keep others from their files */
};

struct gofer_config {
    int sock; /* connected stream socket; a unix socket if fds are to be donated */
    const struct gofer_export *exports;
    unsigned export_count;
    bool donate;     /* hand out descriptors of regular files to ringbox clients */
    bool unconfined; /* leave isolate_gofer() out: only for tests */
};

/**
 * gofer_serve - answer requests until the peer closes or breaks the protocol.
 *
 * The process is the server's alone from here on: umask, RLIMIT_NOFILE and confinement change.
 * Return: 0 at end of stream; -EPROTO after a malformed message; another -errno when the socket
 * failed or setting up did.
 */
int gofer_serve(const struct gofer_config *config);

#endif
