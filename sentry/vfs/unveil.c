/* SPDX-License-Identifier: Apache-2.0
 * unveil.c - the names a process sees (unveil.h).
 *
 * A view (struct unveil) is a list of names and, below it, the view it may only narrow. It is
 * immutable once a process has it: adding a name replaces it. A walk carries what it sees of each
 * view (struct walk.seen): the child of a place is judged by its name and by what its directory was;
 * after a jump (root, "..", magic link) the place is judged anew, from it upwards.
 *
 * Guests choose names, order and what they rename meanwhile. A walk is judged by the places it held
 * references to, in the order in which it came by; a rename is before or after it.
 *
 * Locks: process->lock for the pointer; g_dentry_tree while a name is compared or copied. */
#include <vfs/unveil.h>

#include <fcntl.h>
#include <stdlib.h>

#include "vfs_internal.h"

/* Of a place, besides UNVEIL_*: an unveiled name is it or stands above it; it is on the way to one. */
#define COVERED 32u
#define PASSED 64u
#define RIGHTS (UNVEIL_READ | UNVEIL_WRITE | UNVEIL_EXEC | UNVEIL_CREATE)

struct unveil_name {
    struct mount *mnt;  /* reference */
    struct dentry *dir; /* reference; NULL: the root of all mounts */
    char *name;
    uint16_t len;
    uint8_t may;        /* UNVEIL_*, if given */
    bool given, passed; /* unveiled; on the way to one that is */
    bool was_passed;    /* before this name was added */
};

struct unveil {
    struct refcount ref;
    struct unveil *outer; /* reference; NULL: this one is over nothing */
    unsigned depth;       /* views below */
    struct unveil_name *names;
    uint32_t count, room, given;
    int err; /* of adding; while it is made */
};

int unveil_parse(const char *letters, unsigned *ret)
{
    static const char known[] = "rwxc";
    unsigned may = 0;

    for (; *letters; letters++) {
        const char *at = strchr(known, *letters);
        unsigned bit = at ? 1u << (at - known) : 0;
        if (!bit || (may & bit))
            return -EINVAL;
        may |= bit;
    }
    *ret = may;
    return 0;
}

/* --- views as objects --- */

static struct unveil *unveil_get(struct unveil *u)
{
    if (u)
        refcount_get(&u->ref);
    return u;
}

void unveil_put(struct unveil *u)
{
    while (u && refcount_put(&u->ref)) {
        struct unveil *outer = u->outer;
        for (uint32_t i = 0; i < u->count; i++) {
            dentry_put(u->names[i].dir);
            mount_put(u->names[i].mnt);
            free(u->names[i].name);
        }
        free(u->names);
        free(u);
        u = outer;
    }
}

struct unveil *unveil_get_of(struct process *p)
{
    if (!atomic_load_explicit(&p->unveil, memory_order_relaxed))
        return NULL;
    spin_lock(&p->lock);
    struct unveil *u = unveil_get(p->unveil);
    spin_unlock(&p->lock);
    return u;
}

static struct unveil_name *name_find(const struct unveil *u, const struct mount *mnt,
                                     const struct inode *dir, const char *name, size_t len)
{
    for (uint32_t i = 0; i < u->count; i++) {
        struct unveil_name *n = &u->names[i];
        if (n->mnt == mnt && n->len == len && (n->dir ? n->dir->inode : NULL) == dir &&
            memcmp(n->name, name, len) == 0)
            return n;
    }
    return NULL;
}

/* The name, entered if it is new. NULL: u->err says why not. */
static struct unveil_name *name_enter(struct unveil *u, struct mount *mnt, struct dentry *dir,
                                      const char *name, size_t len)
{
    struct unveil_name *n = name_find(u, mnt, dir ? dir->inode : NULL, name, len);

    if (n || u->err)
        return n;
    if (u->count == UNVEIL_NAMES_MAX) {
        u->err = -E2BIG;
        return NULL;
    }
    if (u->count == u->room) {
        uint32_t room = u->room ? u->room * 2 : 16;
        n = realloc(u->names, room * sizeof(*n));
        if (n)
            u->names = n;
        u->room = n ? room : u->room;
    }
    char *copy = u->count < u->room ? malloc(len + 1) : NULL;
    if (!copy) {
        u->err = -ENOMEM;
        return NULL;
    }
    memcpy(copy, name, len);
    copy[len] = 0;
    n = &u->names[u->count++];
    *n = (struct unveil_name){.mnt = mount_get(mnt),
                              .dir = dir ? dentry_get(dir) : NULL,
                              .name = copy,
                              .len = (uint16_t)len};
    return n;
}

/* --- places --- */

enum place_kind {
    PLACE_NAMED,
    PLACE_TOP,     /* the root of all mounts */
    PLACE_UNNAMED, /* a file that never had a name, in a directory: *p has become that */
    PLACE_NOWHERE, /* pipes, memory files: not in the tree, nothing to hide */
    PLACE_LOST     /* below a mount that was taken away */
};

struct place {
    struct mount *mnt;
    struct dentry *dir; /* reference, if named */
    char name[NAME_LEN_MAX + 1];
    size_t len;
};

/* The name of @p; roots of mounts have that of where they are mounted, and *p becomes it. */
static enum place_kind place_of(struct path *p, struct place *ret)
{
    while (p->dentry == p->mnt->root) {
        if (!mount_follow_up(p))
            return p->mnt->internal ? PLACE_NOWHERE : p->mnt->attached ? PLACE_TOP : PLACE_LOST;
    }
    spin_lock(&g_dentry_tree);
    struct dentry *d = p->dentry;
    ret->mnt = p->mnt;
    ret->dir = d->parent ? dentry_get(d->parent) : NULL;
    ret->len = MIN((size_t)d->len, (size_t)NAME_LEN_MAX);
    memcpy(ret->name, d->name, ret->len);
    spin_unlock(&g_dentry_tree);
    if (ret->dir)
        return PLACE_NAMED;
    if (p->mnt->internal)
        return PLACE_NOWHERE;
    d = dentry_get(p->mnt->root);
    dentry_put(p->dentry);
    p->dentry = d;
    return PLACE_UNNAMED;
}

/* What a place is by its own name in one view; COVERED: nothing above it counts. */
static uint8_t own_seen(const struct unveil_name *n, bool itself)
{
    if (!n)
        return 0;
    return (uint8_t)((n->given ? n->may | COVERED : 0) | (itself && n->passed ? PASSED : 0));
}

/* From @at upwards, for each view. */
static void seen_at(const struct unveil *views, const struct path *at, uint8_t *seen)
{
    struct path p = *at;
    enum place_kind kind = PLACE_NAMED;
    struct place where;

    memset(seen, 0, UNVEIL_LAYERS_MAX);
    path_get(&p);
    for (bool itself = true; kind == PLACE_NAMED || kind == PLACE_UNNAMED; itself = false) {
        kind = place_of(&p, &where);
        if (kind == PLACE_UNNAMED)
            continue;
        bool all = true;
        uint8_t *s = seen;
        for (const struct unveil *u = views; u; u = u->outer, s++) {
            if (kind == PLACE_NOWHERE)
                *s = UNVEIL_EVERYTHING | COVERED;
            else if (!(*s & COVERED) && kind == PLACE_NAMED)
                *s |= own_seen(name_find(u, where.mnt, where.dir->inode, where.name, where.len),
                               itself);
            else if (!(*s & COVERED) && kind == PLACE_TOP)
                *s |= own_seen(name_find(u, p.mnt, NULL, "", 0), itself);
            all = all && (*s & COVERED);
        }
        if (kind != PLACE_NAMED)
            break;
        dentry_put(p.dentry);
        p.dentry = where.dir;
        if (all)
            break;
    }
    path_put(&p);
}

/* Of all views together. */
static unsigned seen_together(const struct unveil *views, const uint8_t *seen)
{
    unsigned may = UNVEIL_EVERYTHING;

    for (const struct unveil *u = views; u; u = u->outer, seen++)
        may &= *seen & (UNVEIL_VISIBLE | PASSED) ? *seen | UNVEIL_VISIBLE : 0;
    return may;
}

/* --- walks --- */

void walk_unveil_start(struct walk *w)
{
    w->unveil = unveil_get_of(w->t->process);
}

void walk_unveil_here(struct walk *w)
{
    seen_at(w->unveil, &w->cur, w->seen);
}

bool walk_unveil_child(struct walk *w, const char *name, size_t len)
{
    const struct inode *dir = w->cur.dentry->inode;
    uint8_t *s = w->seen, *to = w->child_seen;

    for (const struct unveil *u = w->unveil; u; u = u->outer, s++, to++) {
        uint8_t own = own_seen(name_find(u, w->cur.mnt, dir, name, len), true);
        *to = own & COVERED ? own : (uint8_t)((*s & COVERED ? *s & ~PASSED : 0) | own);
    }
    return seen_together(w->unveil, w->child_seen) & UNVEIL_VISIBLE;
}

unsigned walk_unveil_may(const struct walk *w, bool child)
{
    return w->unveil ? seen_together(w->unveil, child ? w->child_seen : w->seen)
                     : UNVEIL_EVERYTHING;
}

int walk_unveil_check(const struct walk *w, bool child, unsigned need)
{
    unsigned may = walk_unveil_may(w, child);

    return !(may & UNVEIL_VISIBLE) ? -ENOENT : need & ~may ? -EACCES : 0;
}

void walk_unveil_note(struct walk *w, const char *name, size_t len)
{
    struct unveil_name *n = name_enter(w->trail, w->cur.mnt, w->cur.dentry, name, len);

    if (n)
        n->passed = true;
}

void walk_unveil_end(struct walk *w)
{
    unveil_put(w->unveil);
    w->unveil = NULL;
}

/* --- what calls ask --- */

unsigned unveil_may(struct task *t, const struct path *p)
{
    uint8_t seen[UNVEIL_LAYERS_MAX];
    struct unveil *u = unveil_get_of(t->process);

    if (!u)
        return UNVEIL_EVERYTHING;
    seen_at(u, p, seen);
    unsigned may = seen_together(u, seen);
    unveil_put(u);
    return may;
}

int unveil_check(struct task *t, const struct path *p, unsigned need)
{
    if (!unveil_active(t))
        return 0;
    unsigned may = unveil_may(t, p);
    return !(may & UNVEIL_VISIBLE) ? -ENOENT : need & ~may ? -EACCES : 0;
}

int unveil_check_open(struct task *t, const struct path *p, unsigned need)
{
    return unveil_check(t, p, need) ? -EACCES : 0;
}

/* --- adding --- */

static int unveil_copy_names(struct unveil *to, const struct unveil *from)
{
    for (uint32_t i = 0; i < from->count && !to->err; i++) {
        const struct unveil_name *n = &from->names[i];
        struct unveil_name *m = name_enter(to, n->mnt, n->dir, n->name, n->len);
        if (m) {
            m->may = n->may;
            m->given = n->given;
            m->passed = m->was_passed = n->passed;
        }
    }
    to->given = from->given;
    return to->err;
}

/* What replaces @now: the same names, or a first view over it. */
static struct unveil *unveil_next(struct unveil *now, bool over)
{
    struct unveil *u = calloc(1, sizeof(*u));

    if (!u)
        return ERR_PTR(-ENOMEM);
    refcount_init(&u->ref);
    u->outer = unveil_get(over || !now ? now : now->outer);
    u->depth = u->outer ? u->outer->depth + 1 : 0;
    int err = u->depth >= UNVEIL_LAYERS_MAX ? -E2BIG : 0;
    if (!err && now && !over)
        err = unveil_copy_names(u, now);
    if (!err)
        return u;
    unveil_put(u);
    return ERR_PTR(err);
}

/* Everything above @p can be walked through. */
static void note_above(struct unveil *u, struct path *p)
{
    enum place_kind kind = PLACE_NAMED;
    struct place where;

    while (kind == PLACE_NAMED) {
        kind = place_of(p, &where);
        struct unveil_name *n = kind == PLACE_NAMED
                                    ? name_enter(u, where.mnt, where.dir, where.name, where.len)
                                : kind == PLACE_TOP ? name_enter(u, p->mnt, NULL, "", 0)
                                                    : NULL;
        if (n)
            n->passed = true;
        if (kind != PLACE_NAMED)
            break;
        dentry_put(p->dentry);
        p->dentry = where.dir;
    }
}

static int name_give(struct unveil *u, struct unveil_name *n, unsigned may)
{
    if (!n)
        return u->err;
    if (n->given && (may & ~(unsigned)n->may))
        return -EPERM;
    if (!n->given && u->given == UNVEIL_MAX)
        return -E2BIG;
    u->given += !n->given;
    n->given = true;
    n->passed = n->was_passed; /* the walk to it has ended there, not come by */
    n->may = (uint8_t)(may ? may | UNVEIL_VISIBLE : 0);
    return 0;
}

/* @at exists. */
static int give_place(struct unveil *u, struct path *at, unsigned may)
{
    struct place where;
    enum place_kind kind = place_of(at, &where);

    if (kind == PLACE_TOP)
        return name_give(u, name_enter(u, at->mnt, NULL, "", 0), may);
    if (kind != PLACE_NAMED)
        return -ENOENT;
    int err = name_give(u, name_enter(u, where.mnt, where.dir, where.name, where.len), may);
    dentry_put(at->dentry);
    at->dentry = where.dir;
    if (!err)
        note_above(u, at);
    return err ? err : u->err;
}

static int walk_for(struct walk *w, struct task *t, const char *name, struct unveil *u)
{
    int err = walk_start(w, t, AT_FDCWD, name, 0);

    if (err)
        return err;
    walk_unveil_end(w); /* what this view hides it may still show */
    w->unveil = unveil_get(u->outer);
    w->trail = u;
    if (w->unveil)
        walk_unveil_here(w);
    return 0;
}

/* The last component does not exist: its name in its directory. */
static int give_name(struct task *t, const char *name, struct unveil *u, unsigned may)
{
    struct walk w;
    const char *last;
    size_t len;
    int kind;
    bool slash;
    int err = walk_for(&w, t, name, u);

    if (err)
        return err;
    err = walk_parent(&w, &last, &len, &kind, &slash);
    if (!err)
        err = kind == LAST_NORM ? walk_may_search(&w) : -ENOENT;
    if (!err && w.unveil && !walk_unveil_child(&w, last, len))
        err = -ENOENT;
    if (!err)
        err = name_give(u, name_enter(u, w.cur.mnt, w.cur.dentry, last, len), may);
    if (!err)
        note_above(u, &w.cur);
    walk_end(&w);
    return err ? err : u->err;
}

static int unveil_fill(struct task *t, const char *name, struct unveil *u, unsigned may)
{
    struct walk w;
    int err = walk_for(&w, t, name, u);

    if (err)
        return err;
    err = walk_finish(&w);
    if (!err)
        err = walk_unveil_check(&w, false, 0);
    if (!err)
        err = give_place(u, &w.cur, may);
    walk_end(&w);
    return err == -ENOENT ? give_name(t, name, u, may) : err ? err : u->err;
}

int unveil_add(struct task *t, const char *name, unsigned may)
{
    struct process *p = t->process;

    for (;;) { /* again only if another thread has added a name meanwhile */
        spin_lock(&p->lock);
        struct unveil *now = unveil_get(p->unveil);
        bool locked = p->unveil_locked, over = p->unveil_kept;
        spin_unlock(&p->lock);
        struct unveil *next = locked ? ERR_PTR(-EPERM) : unveil_next(now, over);
        int err = IS_ERR(next) ? PTR_ERR(next) : unveil_fill(t, name, next, may & RIGHTS);
        bool changed = false;
        if (!err) {
            spin_lock(&p->lock);
            changed = p->unveil != now || p->unveil_locked || p->unveil_kept != over;
            if (!changed) {
                p->unveil = next;
                p->unveil_kept = false;
                next = now; /* its reference was the process's */
            }
            spin_unlock(&p->lock);
        }
        unveil_put(now);
        if (!IS_ERR(next))
            unveil_put(next);
        if (!changed)
            return err;
    }
}

void unveil_lock(struct process *p)
{
    spin_lock(&p->lock);
    p->unveil_locked = true;
    spin_unlock(&p->lock);
}
