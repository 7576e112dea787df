/* SPDX-License-Identifier: Apache-2.0
 * socket.h - the AF_UNIX socket, for socketpair.c and socket_opt.c. */
#ifndef FILES_SOCKET_H
#define FILES_SOCKET_H

#include <sys/un.h>

#include <vfs/vfs.h>

#include "files_private.h"

/* One send: a message, or a piece of a stream. */
struct sock_buf {
    struct list_head link;
    size_t size, taken;  /* bytes, already received (stream) */
    struct ucred cred;   /* sender's */
    struct file **files; /* SCM_RIGHTS, references; NULL when none */
    unsigned file_count;
    bool end_of_record;
    char data[];
};
#define SOCK_BUF_OVERHEAD 64u /* charged for each beside its bytes */

struct sock {
    struct socket base;
    struct refcount ref; /* the file, the peer */
    /* Reference; NULL: unconnected; set at most once (by connect, under lock). */
    _Atomic(struct sock *) peer;
    struct ucred peer_cred;
    struct fmutex recv_lock; /* RANK_FILE: receivers one after the other */

    struct spin lock;       /* RANK_OBJECT; below it: */
    struct list_head queue; /* sock_buf, towards this socket */
    size_t queued;          /* bytes charged, reserved ones included */
    size_t limit;           /* of queued: the peer's SO_SNDBUF */
    bool rcv_shut, snd_shut;
    bool dead; /* file closed */
    int error; /* SO_ERROR */
    bool pass_cred;
    uint32_t flag_options; /* SO_REUSEADDR and the like: kept, no effect */
    uint32_t recv_size;    /* SO_RCVBUF as set; without effect */

    struct wait_queue wait;

    /* socket_name.c */
    struct list_head name_link; /* of bound ones; g_names' lock */
    struct path path;           /* what it is bound to, reference; g_names' lock */
    struct sockaddr_un name;    /* written once, before name_len */
    _Atomic(uint32_t) name_len; /* 0: none */
    bool listening;             /* lock */
    uint32_t backlog, pending_count;
    struct list_head pending; /* connected, not accepted (in their name_link); lock */
};

struct sock *file_sock(const struct file *f); /* NULL: no socket */
struct sock *sock_alloc(int type);            /* NULL: no memory */
/* Takes over @s, also on error. @type: SOCK_NONBLOCK. */
struct file *sock_file_new(struct sock *s, int type);
void sock_put(struct sock *s);
/* Its file is gone, or never came: what queues on it goes, the peer learns. Drops the reference. */
void sock_end(struct sock *s);
void sock_shut(struct sock *s, bool rcv, bool snd, int error);
struct ucred sock_cred_of_current(void);
/* Operations in socket_name.c and socket_opt.c. */
int unix_bind(struct task *t, struct file *f, const struct sockaddr *addr, uint32_t len);
sysret_t unix_connect(struct call *c, struct file *f, const struct sockaddr *addr, uint32_t len);
int unix_listen(struct file *f, int backlog);
struct file *unix_accept(struct file *f, uint32_t flags);
int unix_name(struct file *f, bool peer, struct sockaddr_storage *ret);
int unix_destination(struct file *f, const struct sockaddr *addr, uint32_t len);
int unix_option_get(struct file *f, int level, int name, void *buf, uint32_t *len);
int unix_option_set(struct file *f, int level, int name, const void *buf, uint32_t len);
bool unix_wants_cred(struct file *f);
/* socket_name.c: the name goes, and connections that nobody has accepted. */
void sock_name_end(struct sock *s);

/* May a send begin? Then it is taken even if it ends over the limit. lock held. */
static inline bool sock_has_room_locked(const struct sock *s)
{
    return s->queued <= s->limit - s->limit / 4;
}

#endif
