/* SPDX-License-Identifier: Apache-2.0
 * vfs_internal.h - dentries, mounts and the walk, as the vfs's own files see them. */
#ifndef VFS_INTERNAL_H
#define VFS_INTERNAL_H

#include <string.h>

#include <base/checked.h>
#include <base/err.h>
#include <base/refcount.h>
#include <kernel/task.h>
#include <vfs/unveil.h>
#include <vfs/vfs.h>

/* A name in a directory, or a root. inode, sb never change; parent and name change only while the
 * dentry is unhashed and the tree lock is held. A hashed dentry holds one reference of the cache.
 */
struct dentry {
    struct refcount ref;
    struct dentry *parent; /* reference; NULL: root or unnamed */
    struct inode *inode;   /* reference; NULL: the name does not exist */
    struct dentry *hash_next;
    struct list_head children, child_link; /* hashed children; tree lock */
    struct list_head lru_link;             /* tree lock */
    uint64_t hash;
    char *name; /* NUL-terminated; short_name or the heap */
    uint16_t len;
    bool hashed;              /* bucket lock */
    bool deleted;             /* its name was removed */
    bool used;                /* looked up since the LRU hand passed */
    _Atomic(uint32_t) mounts; /* mounts on top of it */
    _Atomic(uint64_t) seen;   /* superblock.changes when it was last known to be right */
    char short_name[32];
};

struct dentry *dentry_new(struct dentry *parent, const char *name, size_t len, struct inode *inode);
struct dentry *dentry_get(struct dentry *d);
void dentry_put(struct dentry *d); /* ignores NULL, ERR_PTR; may park */
/* Child by name. lookup: asks the file system on a miss (takes the directory's lock);
 * lookup_locked: the caller holds it. Negative answers are dentries too. */
struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len);
struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t len);
struct dentry *dentry_find(struct dentry *parent, const char *name, size_t len);
/* Has nobody outside changed @parent, of an exclusive superblock, since @d was looked up there? */
bool dentry_current(struct dentry *d, const struct dentry *parent);
/* A new entry into the cache; directory's lock held, no other entry of the name hashed. Takes the
 * inode's reference; gives a reference or ERR_PTR(-ENOMEM) (the inode is put then). */
struct dentry *dentry_add(struct dentry *parent, const char *name, size_t len, struct inode *inode);
void dentry_drop(struct dentry *d);      /* out of the cache */
void dentry_prune(struct dentry *d);     /* drop its cached children */
void dentry_prune_all(struct dentry *d); /* whole cached subtree */
/* After a rename in the file system: under another parent and name. Both directories locked. */
int dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len);
void dentry_mark_deleted(struct dentry *d);
struct dentry *dentry_parent(struct dentry *d);              /* reference; NULL for roots */
bool dentry_is_ancestor(struct dentry *a, struct dentry *d); /* a == d or above */
void dentry_init(void);
extern struct spin g_dentry_tree;

struct mount {
    struct refcount ref;
    uint32_t id;
    struct superblock *sb; /* reference */
    struct dentry *root;   /* reference */
    uint32_t flags;        /* MS_* */
    bool attached;         /* in the tree; mounts lock */
    bool internal;         /* never in the tree; immutable */
    struct mount *parent;  /* reference; mounts lock; NULL: top */
    struct dentry *at;     /* reference; where in the parent */
    struct list_head link; /* mounts lock */
};
struct mount *mount_get(struct mount *m);
void mount_put(struct mount *m);
/* Replaces p by what is mounted on it, as often as needed. true: crossed. */
bool mount_follow_down(struct path *p);
/* Is something mounted on a descendant of d? */
bool mount_beneath(struct dentry *d);
/* From a mount's root to the place it is mounted on. false: it is the top. */
bool mount_follow_up(struct path *p);
void mount_init(void);

/* --- walk.c --- */

struct walk {
    struct task *t;
    struct cred *cred;     /* reference */
    struct path root, cur; /* references */
    struct path fence;     /* RESOLVE_BENEATH, RESOLVE_IN_ROOT: not above; borrowed copy */
    unsigned flags;
    int links;
    bool need_dir;
    const char *rest;
    char *buf;             /* owned text that rest points into, once a symlink was followed */
    struct unveil *unveil; /* reference; NULL: nothing is hidden */
    struct unveil *trail;  /* borrowed: what is being unveiled, to note the names come by */
    uint8_t seen[UNVEIL_LAYERS_MAX], child_seen[UNVEIL_LAYERS_MAX]; /* of cur, of walk_child()'s */
};
int walk_start(struct walk *w, struct task *t, int dirfd, const char *name, unsigned flags);
int walk_start_as(struct walk *w, struct task *t, struct cred *cred, int dirfd, const char *name,
                  unsigned flags);
/* To the last component: its name (in the walk's text) and kind. w->cur is its directory. */
int walk_parent(struct walk *w, const char **ret_name, size_t *ret_len, int *ret_kind,
                bool *ret_slash);
/* Is w->cur a directory that may be searched? 0, -ENOTDIR, -EACCES. */
int walk_may_search(struct walk *w);
int walk_dots(struct walk *w, int kind);
/* Continue at the target of a symlink found in w->cur. */
int walk_link(struct walk *w, const struct path *link);
/* The rest of the walk, links followed unless LOOKUP_NOFOLLOW. */
int walk_finish(struct walk *w);
/* Child of w->cur, mounts crossed: 0 with references in *ret (negative allowed). */
int walk_child(struct walk *w, const char *name, size_t len, struct path *ret);
void walk_end(struct walk *w);
/* On to what walk_child() gave (taken over). */
static inline void walk_enter(struct walk *w, struct path *child)
{
    path_put(&w->cur);
    w->cur = *child;
    memcpy(w->seen, w->child_seen, sizeof(w->seen));
}

/* --- unveil.c: only _start and _check, _may where w->unveil is NULL --- */

void walk_unveil_start(struct walk *w);
/* w->cur has jumped: judge it anew. */
void walk_unveil_here(struct walk *w);
/* Judge the name in w->cur: false, it does not exist. */
bool walk_unveil_child(struct walk *w, const char *name, size_t len);
/* UNVEIL_* of w->cur, or of the child judged last. */
unsigned walk_unveil_may(const struct walk *w, bool child);
/* 0, -ENOENT, -EACCES without some of @need. */
int walk_unveil_check(const struct walk *w, bool child, unsigned need);
void walk_unveil_note(struct walk *w, const char *name, size_t len); /* w->trail is set */
void walk_unveil_end(struct walk *w);

static inline bool path_is_dir(const struct path *p)
{
    return p->dentry->inode && S_ISDIR(inode_type(p->dentry->inode));
}

/* open.c: file on an inode already checked. */
struct file *file_open_path(const struct path *p, uint32_t flags, struct cred *c);

/* locks.c */
void locks_file_gone(struct file *f);
void locks_free(struct inode *i);

#endif
