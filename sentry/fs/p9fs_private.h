/* SPDX-License-Identifier: Apache-2.0
 * p9fs_private.h - the 9P client: connection (p9fs_conn.c) and file system (p9fs*.c). */
#ifndef FS_P9FS_PRIVATE_H
#define FS_P9FS_PRIVATE_H

#include <base/fiber.h>
#include <host/io.h>
#include <kernel/timer.h>
#include <p9/wire.h>
#include <vfs/vfs.h>

/* --- connection --- */

#define P9_TAGS 256u                         /* requests in flight; more wait for a tag */
#define P9_CLUNKS 64u                        /* fids to clunk, gathered to go with other requests */
#define P9_RETIRED 256u                      /* fids given up while requests are on their way */
#define P9_FDS_QUEUED 128u                   /* donated descriptors that came before their reply */
#define P9_DEADLINE_NS (60LL * 1000000000LL) /* for a reply; then the connection is closed */
extern int64_t p9_deadline_ns;               /* as above; only tests change it */

struct p9_conn;

/* One exchange; lives on the caller's stack until p9_transact() returns. */
struct p9_req {
    uint8_t *out; /* encoded; the tag is filled in */
    size_t out_len;
    struct iovec data; /* Twrite: bytes behind out; len 0 otherwise */
    uint8_t *in;       /* the reply, all of it; a longer one is a lie */
    size_t in_cap, in_len;
    uint8_t want; /* type of the reply unless Rlerror */
    int fd;       /* donated with it, or -1; the caller's */
    int result;
    _Atomic(bool) done;
    struct fiber *fiber;
    int64_t deadline_ns;
};

struct p9_conn *p9_conn_new(int sock); /* takes sock in any case; not yet negotiated */
void p9_conn_free(struct p9_conn *c);
/* Version exchange, then receiving starts. 0, -EIO, -ENOMEM. May park. */
int p9_conn_start(struct p9_conn *c, uint32_t msize);
bool p9_conn_ringbox(const struct p9_conn *c);
uint32_t p9_conn_iounit(const struct p9_conn *c);
bool p9_conn_dead(struct p9_conn *c);
/* The server lied: every request from now on is -EIO. Returns -EIO. */
int p9_conn_fail(struct p9_conn *c, const char *why);
/* Send and wait. 0, -errno of the server (1..4095), -EIO. Parks. */
int p9_transact(struct p9_conn *c, struct p9_req *r);
/* Send @n requests at once, in order, and wait for all: each has its result as above. All but the
 * first are -EAGAIN, and not sent, when no tag is free for them: waiting for one with others in hand
 * could last for ever. */
#define P9_BATCH_MAX 40u
void p9_transact_all(struct p9_conn *c, struct p9_req *const *r, unsigned n);
uint32_t p9_fid_new(struct p9_conn *c);
/* Clunk without waiting for the answer: soon, with other requests, or @now. May park. */
void p9_clunk(struct p9_conn *c, uint32_t fid, bool now);
/* @fresh takes the place of *fid, which may be in use and is clunked later; or, when too many wait for
 * that, is clunked itself. */
void p9_fid_renew(struct p9_conn *c, uint32_t *fid, uint32_t fresh);
/* Called where replies are received, never parks: a directory was changed by others; 0, 0: which, nobody
 * knows. */
void p9_conn_on_change(struct p9_conn *c, void (*changed)(void *, uint64_t path, uint64_t dev),
                       void *arg);
/* Messages sent, for --stats. */
uint64_t p9_conn_messages(const struct p9_conn *c);

#define P9_OUT_MAX 1024u /* requests with names but without long strings */
#define P9_IN_MAX 512u   /* replies without data */

/* m -> reply of another type; for replies that hold no pointers. Result as p9_transact(). */
#define P9_CALL_FD(conn, tname, rname, m, reply, ret_fd)                           \
    __extension__({                                                                \
        uint8_t call_out[P9_OUT_MAX], call_in[P9_IN_MAX];                          \
        int *call_fd = (ret_fd);                                                   \
        int call_n = p9_encode_##tname(call_out, sizeof call_out, (m));            \
        struct p9_req call_r = {.out = call_out,                                   \
                                .out_len = (size_t)call_n,                         \
                                .in = call_in,                                     \
                                .in_cap = sizeof call_in,                          \
                                .want = P9_##rname,                                \
                                .fd = -1};                                         \
        int call_e = call_n < 0 ? -ENAMETOOLONG : p9_transact((conn), &call_r);    \
        if (call_e == 0 && p9_decode_##rname(call_in, call_r.in_len, (reply)) < 0) \
            call_e = p9_conn_fail((conn), "malformed " #rname);                    \
        if (call_fd)                                                               \
            *call_fd = call_r.fd;                                                  \
        call_e;                                                                    \
    })
#define P9_CALL(conn, tname, rname, m, reply) P9_CALL_FD(conn, tname, rname, m, reply, NULL)
/* For replies with strings or data, which point into @buf. */
#define P9_CALL_BUF(conn, tname, rname, m, reply, buf, cap)                          \
    __extension__({                                                                  \
        uint8_t call_out[P9_OUT_MAX];                                                \
        int call_n = p9_encode_##tname(call_out, sizeof call_out, (m));              \
        struct p9_req call_r = {.out = call_out,                                     \
                                .out_len = (size_t)call_n,                           \
                                .in = (buf),                                         \
                                .in_cap = (cap),                                     \
                                .want = P9_##rname,                                  \
                                .fd = -1};                                           \
        int call_e = call_n < 0 ? -ENAMETOOLONG : p9_transact((conn), &call_r);      \
        if (call_e == 0 && p9_decode_##rname(call_r.in, call_r.in_len, (reply)) < 0) \
            call_e = p9_conn_fail((conn), "malformed " #rname);                      \
        call_e;                                                                      \
    })

/* --- file system --- */

#define P9_CACHED_FDS \
    10000u                  /* donated descriptors that the inodes of a mount keep without an open
                              * file; at most 7/8 of those allowed */
#define P9_AHEAD_FDS 64u    /* donated before they were asked for, of a mount */
#define P9_AHEAD_BATCH 31u  /* with one request */
#define P9_FDS_MAX 12000u   /* donated descriptors of all mounts (p9fs_limit_fds); -ENFILE */
#define P9_FDS_DEFAULT 512u /* until the limit is known: fits the usual soft RLIMIT_NOFILE */
#define P9_LISTING_ENTRIES 100000u /* of a directory kept in memory; longer ones are streamed */
#define P9_LISTING_BYTES (8u << 20)
#define P9_HINT_ENTRIES 8192u         /* of a directory listed with attributes */
#define P9_LISTINGS_BYTES (64u << 20) /* of all listings that a mount keeps */
extern uint64_t p9_listings_max;      /* as above; only tests change it */
#define P9_WAITING_BUCKETS 256u
#define P9_SCANBUFS_KEPT 2u
#define P9_CHAIN_MAX 15u    /* names between an inode and the next one above with a fid */
#define P9_CHAIN_BYTES 600u /* of them on the wire: with one more name they fit P9_OUT_MAX */
#define P9_HASH_BUCKETS 16384u

/* A donated descriptor. */
struct p9_fd {
    struct refcount ref;
    int fd;
    bool writable;
};

/* A directory's entries, immutable once published but for the last line. */
struct p9_listing {
    struct refcount ref;
    uint32_t count;
    uint64_t bytes;                /* of memory */
    struct p9_inode *owner;        /* whose ->listing it is; fs->lock */
    uint64_t path, dev;            /* of its directory, while nobody owns it */
    uint64_t seen;                 /* p9fs.changes before it was asked for */
    struct list_head lru, waiting; /* fs->lock: kept; kept without an owner */
    struct p9_entry *entries;      /* all these in the same piece of memory */
    struct p9_attr *attrs;         /* beside the entries, or NULL: not asked for */
    uint32_t *index;               /* by name: entry + 1; NULL without attrs */
    char *names;
    uint32_t index_mask;
    uint32_t last_dir, last_file; /* fs->lock: entry + 1 that was asked for last; 0: none */
    uint8_t order;                /* fs->lock: in which they are asked for, as it seems */
};
struct p9_entry {
    uint64_t ino;
    uint32_t name; /* offset in names */
    uint8_t len, type;
};

struct p9fs {
    struct superblock *sb;
    struct p9_conn *conn;
    struct spin lock;        /* RANK_OBJECT: the fields below and what p9_inode says */
    struct list_head *hash;  /* p9_inode.hash_link by (path, dev) */
    struct list_head fd_lru; /* p9_inode.lru: those with a cached descriptor, old last */
    uint32_t fd_cached;
    struct list_head listings; /* all that are kept, old last */
    uint64_t listing_bytes;
    _Atomic(uint64_t) changes, all_changed;       /* p9fs_changed.c; written under the lock */
    struct list_head waiting[P9_WAITING_BUCKETS]; /* those that came before they were asked for */
    uint32_t ahead_bytes;                /* that may come unasked; 0: nobody walks a tree */
    uint32_t lookup_scans;               /* while nobody walked */
    uint32_t misses;                     /* names asked for one by one */
    uint32_t ahead_given, ahead_waiting; /* listings: came lately; wait */
    _Atomic(uint32_t) attrs_unused;      /* listings that came since one told a file's attributes */
    struct p9_ahead_fd {                 /* descriptors that wait to be asked for */
        struct p9_fd *fd;                /* reference; NULL: free */
        uint64_t path, dev;
    } ahead_fds[P9_AHEAD_FDS];
    uint32_t ahead_fd_next, ahead_fd_count;
    uint32_t open_ahead, fds_given; /* to come with the next; came lately */
    struct p9_scanbuf *scanbufs;
    uint32_t scanbuf_count;
};

struct p9_inode {
    struct inode *vfs; /* owner */
    struct p9fs *fs;
    struct mappable map;
    uint64_t path, dev;   /* immutable: identity at the server */
    uint32_t fid;         /* fs->lock; never opened; NOFID: found in a listing, not walked to yet */
    struct inode *parent; /* fs->lock; reference, while there is no fid */
    char *name;           /* immutable; with parent */
    uint8_t name_len;
    uint8_t chain;                 /* immutable: so many names to a fid, at most */
    uint16_t chain_bytes;          /* immutable: of them on the wire */
    struct list_head hash_link;    /* fs->lock */
    struct list_head lru;          /* fs->lock */
    struct p9_fd *ro, *rw;         /* fs->lock; references */
    struct p9_fd *map_ro, *map_rw; /* fs->lock; kept for mappings until the inode ends */
    struct p9_listing *listing;    /* fs->lock; reference */
    uint32_t listing_gen;          /* fs->lock: counts changes of the directory */
    _Atomic(uint64_t) changed;     /* p9fs.changes when others changed it last; fs->lock to write */
    _Atomic(uint64_t) attr_seen;   /* p9fs.changes before the attributes were asked for */
    bool listing_big;              /* fs->lock: too long to keep */
    bool scan_refused;             /* fs->lock: the server may search it, not list it */
    uint32_t misses;               /* fs->lock: names asked for one by one */
    char *link;                    /* fs->lock; set once: target of a symlink */
    size_t link_len;
    _Atomic(char *) map_path;       /* shown in /proc/PID/maps; set once */
    _Atomic(struct p9_warm *) warm; /* p9fs_warm.c; set once */
    _Atomic(uint32_t) small_reads;  /* until then */
    _Atomic(bool) stale;            /* the cached attributes are to be fetched again */
    uint32_t lock_fid;              /* vfs->lock: opened, while locks are held; or NOFID */
    uint32_t lock_held;             /* vfs->lock: 1: ranges, 2: flock */
    struct fmutex open_lock;        /* RANK_PAGES: one opener of a descriptor at a time */
};

static inline struct p9_inode *p9_of(const struct inode *i)
{
    return i->private_data;
}
static inline struct p9_str p9_name(const char *name, size_t len)
{
    return (struct p9_str){.s = name, .len = (uint16_t)len};
}

extern const struct inode_ops p9_dir_ops, p9_file_ops, p9_other_ops;

/* p9fs.c, p9fs_inode.c */
/* Inode for attributes the server gave for @fid (taken: kept or clunked), when fs->changes was @seen. ERR_PTR. */
struct inode *p9_inode_obtain(struct p9fs *fs, uint32_t fid, const struct p9_attr *a,
                              uint64_t seen);
/* The same for an entry of a listing of @dir: no fid yet. */
struct inode *p9_inode_hinted(struct inode *dir, const char *name, size_t len,
                              const struct p9_attr *a, uint64_t seen);
/* The inode's fid, walked to if need be. 0 or -errno; may park. */
int p9_fid(struct p9_inode *pi, uint32_t *ret);
/* For messages that can name (directory, name) instead: the parent (reference) and the name. NULL:
 * the inode has a fid. */
struct inode *p9_fid_parent(struct p9_inode *pi, char ret_name[NAME_LEN_MAX + 1]);
void p9_attr_convert(struct p9fs *fs, const struct p9_attr *a, struct attr *ret);
/* Check what the server says; 0 or the connection is failed, -EIO. */
int p9_attr_check(struct p9fs *fs, const struct p9_attr *a);
void p9_attr_store(struct inode *i, const struct p9_attr *a);
/* A request that gives an inode a fid if it has none, to be sent with others that use it: start, send
 * req first if `needed`, end with the result so far. */
struct p9_chain {
    uint32_t fid; /* of the nearest one above that has one */
    unsigned count;
    struct inode *held[P9_CHAIN_MAX]; /* references: upwards, the inode itself first */
    struct p9_names names;            /* downwards */
};
struct p9_fidwalk {
    struct p9_inode *pi;
    bool needed;
    uint32_t fid;
    struct p9_req req;
    struct p9_chain chain;
};
#define P9_WALK_IN_MAX 2200u /* Rwalkattr with P9_WALK_MAX attributes */
int p9_fidwalk_start(struct p9_fidwalk *w, uint8_t out[P9_OUT_MAX], uint8_t in[P9_WALK_IN_MAX]);
int p9_fidwalk_end(struct p9_fidwalk *w, int r);
/* Walk to @name from a directory, which need not have a fid: new fid and attributes. */
int p9_walk_in(struct p9_inode *dir, const char *name, size_t len, uint32_t *ret_fid,
               struct p9_attr *ret);
/* The inode of this identity, without a reference: good while fs->lock is held. */
struct p9_inode *p9_inode_find_locked(struct p9fs *fs, const struct p9_attr *a);
/* Walk one name from a directory fid: new fid and attributes. */
int p9_walk(struct p9fs *fs, uint32_t dir_fid, const char *name, size_t len, uint32_t *ret_fid,
            struct p9_attr *ret);
struct inode *p9_lookup(struct inode *dir, const char *name, size_t len);
int p9_getattr(struct inode *i, struct attr *ret);
int p9_setattr(struct inode *i, const struct setattr *s, const struct cred *c);
void p9_release(struct inode *i);
int p9_statfs(struct superblock *sb, struct statfs *ret);
int p9_fid_attr(struct p9fs *fs, uint32_t fid, struct p9_attr *ret);
/* p9fs_warm.c. Bytes moved; 0: it is not known to be in the host's cache, read by descriptor. */
#define P9_WARM_BYTES 16384u
ssize_t p9_read_warm(struct p9_inode *pi, int fd, struct uio *u, int64_t off);
/* So much has just been read by descriptor. */
void p9_warm_note(struct p9_inode *pi, int64_t off, size_t len);
void p9_stat_store(struct p9_inode *pi, int fd); /* attributes from a donated descriptor */

/* p9fs_fd.c */
struct p9_fd *p9_fd_new(int fd, bool writable); /* takes fd; NULL: no memory */
/* Ask the server to open. Gives a descriptor or, with none donated (-1), an opened fid. */
int p9_server_open(struct p9_inode *pi, uint32_t flags, int *ret_fd, uint32_t *ret_fid,
                   struct p9_attr *ret_attr);
/* A descriptor that serves @writable: cached, or fetched now. NULL with *ret_fid: not donated. */
int p9_fd_obtain(struct p9_inode *pi, bool writable, struct p9_fd **ret, uint32_t *ret_fid);
void p9_fd_put(struct p9_fd *d);
/* Keep @fd (taken) as the inode's cached descriptor after checking that it is what it should be. */
int p9_fd_adopt(struct p9_inode *pi, int fd, bool writable, const struct p9_attr *a);
/* A reference to whichever descriptor is cached, or NULL. */
struct p9_fd *p9_fd_any(struct p9_inode *pi);
void p9_fds_drop(struct p9_inode *pi);
uint32_t p9_fds_count(void); /* donated descriptors held, all mounts */
uint32_t p9_fds_room(void);  /* more that may be */
/* Is it what @a says, with that access? 0, or the connection is failed. */
int p9_fd_verify(struct p9fs *fs, int fd, bool writable, const struct p9_attr *a);

/* p9fs_ahead.c */
/* Ask the server to open @name of @dir, which was scanned, and perhaps others. Results as of Topenat. */
int p9_open_in(struct p9_inode *pi, struct inode *dir, const char *name, uint32_t flags,
               int *ret_fd, uint32_t *ret_fid, struct p9_ropenat *ret);
struct p9_fd *
p9_ahead_take_locked(struct p9_inode *pi); /* its descriptor, if it came before; or NULL */
bool p9_ahead_drop(struct p9fs *fs);       /* close all; were there any? */

/* p9fs_file.c */
int p9_open_file(struct inode *i, struct file *f);
struct mappable *p9_mappable(struct inode *i);
extern const struct mappable_ops p9_mappable_ops;

/* p9fs_dir.c */
int p9_open_dir(struct inode *i, struct file *f);

/* p9fs_listing.c */
/* Where entries gather until all are there: used again and again, a listing has no byte too many. */
struct p9_builder {
    struct p9_entry *entries;
    struct p9_attr *attrs;
    char *names;
    uint32_t count, names_len;
    uint32_t entries_cap, names_cap, attrs_cap;
    bool with_attr;
};
void p9_builder_start(struct p9_builder *b,
                      bool with_attr); /* zeroed at first; forgets its entries */
/* -E2BIG: too much to keep; -ENOMEM. */
int p9_builder_add(struct p9_builder *b, const struct p9_dirent *d);
struct p9_listing *p9_builder_done(const struct p9_builder *b); /* NULL: no memory */
void p9_builder_fini(struct p9_builder *b);
void p9_listing_put(struct p9_listing *l);
/* Keep a reference of @l as the directory's, unless it has changed since generation @gen. */
void p9_listing_keep(struct p9_inode *dir, struct p9_listing *l, uint32_t gen);
struct p9_listing *p9_listing_cached(struct p9_inode *dir, bool *ret_big); /* reference or NULL */
void p9_listing_drop(struct p9_inode *dir); /* the directory has changed, or goes */
void p9_listing_too_big(struct p9_inode *dir);
void p9_listings_free(struct p9fs *fs); /* the mount ends */
void p9_listing_forget(struct p9fs *fs, uint64_t path, uint64_t dev);
/* Keep a reference of @l for the directory with these attributes, whose inode need not exist yet. */
void p9_listing_ahead(struct p9fs *fs, struct p9_listing *l, const struct p9_attr *dir);
void p9_listing_claim_locked(struct p9fs *fs, struct p9_inode *dir); /* a new inode takes its own */
bool p9_listing_known_locked(struct p9fs *fs, const struct p9_attr *dir);
int p9_listing_find(const struct p9_listing *l, const char *name, size_t len); /* -1; with index */
/* Entries of @at's type that are likely to be asked for after it, at most @max into @ret: in the order
 * that *last -> @at suggests. *ret_in_sequence: @at comes right behind *last in it. */
uint32_t p9_listing_after(struct p9fs *fs, struct p9_listing *l, uint32_t at, uint32_t *last,
                          bool (*wanted)(struct p9fs *fs, const struct p9_attr *a), uint32_t max,
                          uint32_t *ret, bool *ret_in_sequence);
void p9_listing_opened_locked(
    struct p9_inode *file); /* its directory's listing: the last asked for */
/* What a cached listing says about a name: 1 with attributes, 0 there is no such name, -1 nothing. */
int p9_hint(struct p9_inode *dir, const char *name, size_t len, struct p9_attr *ret,
            uint64_t *ret_seen);

/* p9fs_changed.c */
void p9_server_changed(void *fs, uint64_t path, uint64_t dev);
uint64_t p9_changed(struct inode *dir);

/* p9fs_scan.c */
bool p9_scans(const struct p9fs *fs);    /* does it scan at all? */
bool p9_scan_pays(struct p9_inode *dir); /* counts one more name asked for */
/* All entries with attributes, kept. @lookup: only if names can be looked up in them. -E2BIG, -errno. */
int p9_scan(struct p9_inode *dir, bool lookup, struct p9_listing **ret);
void p9_scanbufs_free(struct p9fs *fs);

/* p9fs_name.c */
struct inode *p9_create(struct inode *dir, const char *name, size_t len, uint32_t mode,
                        const struct cred *c);
struct inode *p9_mknod(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       uint64_t rdev, const struct cred *c);
struct inode *p9_tmpfile(struct inode *dir, uint32_t mode, const struct cred *c);
struct inode *p9_mkdir(struct inode *dir, const char *name, size_t len, uint32_t mode,
                       const struct cred *c);
struct inode *p9_symlink(struct inode *dir, const char *name, size_t len, const char *target,
                         const struct cred *c);
int p9_link(struct inode *dir, const char *name, size_t len, struct inode *target);
int p9_unlink(struct inode *dir, const char *name, size_t len, struct inode *victim);
int p9_rmdir(struct inode *dir, const char *name, size_t len, struct inode *victim);
int p9_rename(struct inode *odir, const char *oname, size_t olen, struct inode *src,
              struct inode *ndir, const char *nname, size_t nlen, struct inode *dst,
              uint32_t flags);
ssize_t p9_readlink(struct inode *i, char *buf, size_t size);

/* p9fs_lock.c */
int p9_lock(struct inode *i, const struct lock_range *l, bool flock);
int p9_lock_test(struct inode *i, struct lock_range *l);

/* p9fs_xattr.c */
ssize_t p9_getxattr(struct inode *i, const char *name, void *buf, size_t size);
int p9_setxattr(struct inode *i, const char *name, const void *buf, size_t size, int flags);
ssize_t p9_listxattr(struct inode *i, char *buf, size_t size);
int p9_removexattr(struct inode *i, const char *name);

#endif
