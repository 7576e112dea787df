/* SPDX-License-Identifier: Apache-2.0
 * p9fs_changed.c - directories that somebody outside has changed, as a ringbox server tells unasked.
 *
 * Model: a mount counts what it is told (changes), a directory remembers its last count (changed), and what
 * is cached remembers the count that held before it was asked for: dentries (vfs), attributes, listings. So
 * a warm lookup compares two numbers, and after a change each name and attribute is looked at once more, by
 * a message only in the directory that changed. Writable mounts are not told of (gofer/server/watch.c).
 *
 * The server may lie: what it says makes more work, of the kind that guests can cause as well.
 *
 * Locks: fs->lock for what is dropped. Runs where replies are received: never parks.
 */
#include <base/count.h>

#include "p9fs_conn.h"

void p9_conn_on_change(struct p9_conn *c, void (*changed)(void *, uint64_t path, uint64_t dev),
                       void *arg)
{
    c->changed_arg = arg;
    c->changed = changed;
}

int p9_conn_told(struct p9_conn *c, const uint8_t *msg, size_t len)
{
    struct p9_rchanged m = {0};
    if (!c->ringbox || !c->changed || p9_decode_rchanged(msg, len, &m) < 0)
        return p9_conn_fail(c, "a reply that was not asked for");
    count_add(COUNT_p9_changes, 1);
    c->changed(c->changed_arg, m.path, m.dev);
    return 0;
}

static void dir_changed_locked(struct p9_inode *pi, uint64_t now)
{
    pi->changed = now;
    pi->stale = true;
    pi->listing_gen++;
    pi->listing_big = pi->scan_refused = false;
}

void p9_server_changed(void *arg, uint64_t path, uint64_t dev)
{
    struct p9fs *fs = arg;
    struct p9_attr dir = {.qid.path = path, .dev = dev, .mode = S_IFDIR};
    spin_lock(&fs->lock);
    uint64_t now = fs->changes + 1;
    struct p9_inode *pi = p9_inode_find_locked(fs, &dir);
    if (path == 0 && dev == 0) /* nobody knows which: all may have changed */
        fs->all_changed = now;
    else if (pi)
        dir_changed_locked(pi, now);
    fs->changes = now; /* last: who sees it sees what it counts */
    spin_unlock(&fs->lock);
    p9_listing_forget(fs, path, dev);
}

uint64_t p9_changed(struct inode *dir)
{
    const struct p9_inode *pi = p9_of(dir);
    uint64_t own = pi->changed, all = pi->fs->all_changed;
    return MAX(own, all);
}
