/* SPDX-License-Identifier: Apache-2.0
 * control.h - how the verbs kill, ps, stats, exec and trace find a running sandbox and talk to the `ringbox run`
 * that started it: a socket in a directory that only its owner can enter.
 *
 * SOCK_SEQPACKET. One request a connection, one packet of words: "info", "end", "signal N",
 * "stats text|json", "ps text|json"; "exec", "trace PID", "kill PID N" with the descriptors of service/attach.h
 * (PID 0: all), which have been passed on when the answer comes. The answer: a packet "ok" or "error MESSAGE", then packets of
 * text, then the end.
 */
#ifndef CMD_CONTROL_H
#define CMD_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include <base/compiler.h>

#define CONTROL_NAME_MAX 64    /* bytes of a sandbox's name */
#define CONTROL_REQUEST_MAX 64 /* bytes of a request */
#define CONTROL_FDS 5U         /* descriptors of a request */
#define CONTROL_PACKET 16384   /* most bytes of a packet of text */

/* 1 to CONTROL_NAME_MAX letters, digits, '_', '-', '.', a letter first: numbers are process ids, the
 * names of sandboxes that were given none. */
bool control_name_valid(const char *name);

/* --- the end in `run` --- */

struct control {
    int fd;  /* listens; -1: none */
    int dir; /* the directory, open */
    char name[CONTROL_NAME_MAX + 1];
    char dir_path[256];
};
/**
 * control_listen - make the socket.
 * @name: NULL: the process id
 * Return: 0; -EADDRINUSE a sandbox of that name runs; other -errno: no place for it.
 */
int control_listen(struct control *c, const char *name);
void control_remove(struct control *c);
/* A packet of at most @size bytes and its descriptors, as recv(); descriptors are close-on-exec, more than
 * CONTROL_FDS or of a packet that was cut are closed and *ret_n is CONTROL_FDS + 1. */
ssize_t control_receive(int fd, char *buf, size_t size, int *fds, unsigned *ret_n);
bool control_send(int fd, const void *buf, size_t size, const int *fds, unsigned n);
/* A new connection, non-blocking, whose other end is ours (or root); -1: none. */
int control_accept(struct control *c);

/* --- the end of the other verbs --- */

/* Connection to the sandbox @name, or -1 after a message for people. */
int control_connect(const char *name);

#define CONTROL_OK 0
#define CONTROL_REFUSED 1 /* it said no: a message has been printed */
#define CONTROL_SILENT 2  /* no answer in time, or the connection broke; nothing printed */
/**
 * control_ask - send @request, copy what comes back to @out.
 * @out: where printable text goes; NULL: nowhere
 */
int control_ask(int fd, const char *request, int timeout_ms, FILE *out);
/* Text from a sandbox, with everything replaced that a terminal could obey. */
void control_print(FILE *out, const char *text, size_t n);
/* As control_ask, with descriptors (at most CONTROL_FDS), for a request without text as its answer. */
int control_ask_fds(int fd, const char *request, const int *fds, unsigned n, int timeout_ms);
/* Kill the process at the other end, which does not answer. 0 when it has gone, -errno. */
int control_kill_peer(int fd, int timeout_ms);

/* Every sandbox of this user: fn(name, connected socket, arg). Sockets that nobody listens on any
 * more are removed. */
void control_each(void (*fn)(const char *name, int fd, void *arg), void *arg);

#endif
