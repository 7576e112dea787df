/* SPDX-License-Identifier: Apache-2.0
 * unix_list.c - all AF_UNIX sockets, for /proc/net/unix and sock_diag.
 *
 * They stand in one list in the order in which they were made, from their making to their end. Who
 * reads asks for some behind the last one it has seen.
 *
 * Locks: g_sockets_lock (RANK_NET), outside a socket's lock. */
#include <kernel/task.h>

#include "unix.h"

static struct spin g_sockets_lock = SPIN_INIT(RANK_NET);
static struct list_head g_sockets = LIST_HEAD_INIT(g_sockets);

void unix_list_add(struct sock *s)
{
    static uint64_t last_cookie;

    spin_lock(&g_sockets_lock);
    s->cookie = ++last_cookie;
    list_add_tail(&s->all_link, &g_sockets);
    spin_unlock(&g_sockets_lock);
}

void unix_list_remove(struct sock *s)
{
    if (list_empty(&s->all_link))
        return;
    spin_lock(&g_sockets_lock);
    list_del(&s->all_link);
    spin_unlock(&g_sockets_lock);
}

static void describe(struct sock *s, struct unix_info *ret)
{
    *ret = (struct unix_info){.cookie = s->cookie, .type = s->base.type, .ino = s->ino};
    ret->name_len = s->name_len;
    if (ret->name_len) {
        ret->name = s->name;
        ret->file_ino = s->file_ino;
        ret->file_dev = s->file_dev;
    }
    spin_lock(&s->lock);
    struct sock *peer = s->peer;
    ret->listening = s->listening;
    ret->connected = peer;
    ret->peer_ino = peer ? peer->ino : 0;
    ret->shutdown = (uint8_t)((s->rcv_shut ? 1 : 0) | (s->snd_shut ? 2 : 0));
    ret->uid = s->file && s->file->cred ? s->file->cred->euid : 0;
    ret->receive = s->listening ? s->pending_count : (uint32_t)sock_bytes_queued_locked(s);
    ret->send = s->listening ? s->backlog : (uint32_t)s->charged;
    ret->references = 2 + (peer != NULL);
    spin_unlock(&s->lock);
}

unsigned unix_infos(uint64_t after, struct unix_info *ret, unsigned most)
{
    struct sock *s;
    unsigned n = 0;

    spin_lock(&g_sockets_lock);
    list_for_each_entry (s, &g_sockets, all_link) {
        if (n == most)
            break;
        if (s->cookie > after)
            describe(s, &ret[n++]);
    }
    spin_unlock(&g_sockets_lock);
    return n;
}
