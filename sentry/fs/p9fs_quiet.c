/* SPDX-License-Identifier: Apache-2.0
 * p9fs_quiet.c - what waits until a connection has no request left: its one timer, and fids that were
 * given up.
 *
 * An inode's fid may be replaced while a request that names the old one is built, waits for a tag or is on
 * its way. A message is built and handed to the connection without a park between, so a connection on which
 * nothing waits and nothing is answered any more has none of them. A poller that is stopped between the two
 * for as long as all others take would get -EBADF for that call.
 *
 * Lock: the connection's (RANK_OBJECT_PEER). */
#include "p9fs_conn.h"

/* One timer for all requests, running while there are any: an idle sandbox has none to wake it. It is
 * armed and cancelled under the lock, so that the last answer cannot cancel the next request's. */
void p9_request_begins(struct p9_conn *c, struct p9_req *r)
{
    spin_lock(&c->lock);
    c->transacting++;
    if (c->io && !c->timer_on && !c->dead) {
        c->timer_on = true;
        (void)timer_arm(&c->timer, c->timer_base, r->deadline_ns);
    }
    spin_unlock(&c->lock);
}

void p9_request_ends(struct p9_conn *c)
{
    spin_lock(&c->lock);
    if (--c->transacting == 0) {
        if (c->timer_on && timer_cancel_nowait(&c->timer))
            c->timer_on = false;
        if (c->free_tags == P9_TAGS && list_empty(&c->tag_waiters))
            while (c->retired_count && c->clunk_count < P9_CLUNKS)
                c->clunks[c->clunk_count++] = c->retired[--c->retired_count];
    }
    spin_unlock(&c->lock);
}

void p9_fid_renew(struct p9_conn *c, uint32_t *fid, uint32_t fresh)
{
    spin_lock(&c->lock);
    bool room = c->retired_count < P9_RETIRED;
    if (room) {
        c->retired[c->retired_count++] = *fid;
        *fid = fresh;
    }
    spin_unlock(&c->lock);
    if (!room)
        p9_clunk(c, fresh, false);
}
