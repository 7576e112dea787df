/* SPDX-License-Identifier: Apache-2.0
 * server.h - state of one connection, private to gofer/server. Single-threaded: no locks. */
#ifndef GOFER_SERVER_H
#define GOFER_SERVER_H

#include <sys/stat.h>
#include <sys/types.h>

#include <base/list.h>
#include <gofer/gofer.h>
#include <p9/wire.h>

/* Limits on what one client can make the server hold. */
#define FIDS_MAX 300000u       /* fids; -ENFILE beyond */
#define NODE_FDS_MIN 32u       /* O_PATH descriptors kept at least */
#define XATTR_FIDS_MAX 64u     /* buffered extended attributes */
#define XATTR_VALUE_MAX 65536u /* bytes of one; Linux's own limit */
#define FDS_PENDING_MAX 32u    /* donated descriptors of one batch of replies */
#define WATCHES_MAX 65536u     /* watched directories; at most a quarter of the user's */
#define WATCH_PAUSE_MS 250     /* between two lots of changes told */
#define WATCH_LATE_MS 500      /* from the first look at anything until changes are watched for */
#define WATCH_LATE_MAX \
    64u /* directories remembered until then, each by a descriptor of at most 1/32 */
#define PIPE_BYTES (1u << 20) /* of a file between Tread and the socket; a user's own limit */
#define PIPE_READ_MIN 32768u  /* shorter reads are copied */
#define SCAN_DEPTH_MAX 8u     /* directories open at once for one Tscan */

/* An object reached by a path beneath an export. Fids at the same path share it. Its O_PATH
 * descriptor may be closed under pressure and is reopened from the parent's, unless pinned. */
struct node {
    struct node *parent; /* reference; NULL: export root, or detached */
    const struct gofer_export *export;
    struct node *hash_next; /* under (parent, name) */
    struct node *walk_next; /* scratch of node_fd() */
    struct list_head lru;   /* in conn.lru while fd >= 0 and not pinned */
    uint64_t dev, ino;      /* identity, checked when reopened */
    char *name;             /* NULL: export root */
    uint32_t refs;
    uint32_t pins; /* holders that need fd to stay */
    int fd;
    int wd;        /* watch.c: perhaps still watched so */
    uint16_t type; /* S_IFMT bits */
    uint8_t name_len;
    bool detached; /* the name is gone; lives by fd only */
    bool wall;     /* hidden, or root of a kernel file system: may be looked at, not entered */
};

enum fid_kind { FID_PATH, FID_OPEN, FID_XATTR_READ, FID_XATTR_WRITE };

struct fid {
    struct fid *next;
    struct node *node; /* reference */
    struct xattr_buf *xattr;
    uint64_t dir_off; /* where the directory descriptor stands */
    uint32_t nr;
    int fd; /* FID_OPEN */
    int open_flags;
    enum fid_kind kind;
};

struct xattr_buf {
    char name[256];
    uint64_t size; /* of data: value read, or announced by Txattrcreate */
    uint64_t done; /* written so far */
    uint32_t flags;
    uint8_t data[];
};

struct watch;
struct watch_late {
    int fd;
    uint64_t path, dev;
};
struct watches {
    int fd; /* inotify, or -1 */
    uint32_t count, max;
    struct watch **buckets; /* by wd; there once it has begun */
    int64_t next_ms;        /* when changes may be told; before it has begun: when it is to */
    bool paused, began;
    bool unsaid; /* that it has begun */
    unsigned late_count, late_max;
    struct watch_late late[WATCH_LATE_MAX];
};

struct conn {
    const struct gofer_config *config;
    uint32_t msize;
    bool versioned, ringbox;

    struct fid **fids; /* hash */
    uint32_t fid_buckets, fid_count;
    struct node **nodes; /* hash by (parent, name) */
    uint32_t node_buckets, node_count;
    struct list_head lru; /* most recently used first */
    uint32_t node_fds, node_fds_max;
    uint32_t open_fds, open_fds_max; /* opened fids and pinned nodes */
    uint32_t xattr_fids;
    uint64_t *root_dev; /* per export */
    int proc_fd;        /* /proc/self/fd, or -1 */
    struct watches watches;

    uint8_t *in, *out;
    size_t in_have, out_have, buf_cap;
    int out_fds[FDS_PENDING_MAX];
    unsigned out_fd_count;
    int pipe[2];         /* pages of a file on their way to the socket, or -1 */
    uint32_t pipe_bytes; /* how much it takes; 0: there is none */
    uint32_t piped;      /* in it: data of the reply that was made last */
    uint8_t dirents[32768] ALIGNED(8);
};

/* node.c. Functions that give a node give a reference. */
int node_root(struct conn *c, const struct gofer_export *e, struct node **ret);
struct node *node_get(struct node *n);
void node_put(struct conn *c, struct node *n);
/* Resolve one component; "." and ".." are handled by the caller. @stx may be NULL. */
int node_child(struct conn *c, struct node *dir, const struct p9_str *name, struct statx *stx,
               struct node **ret);
/* O_PATH descriptor, borrowed; valid until the next node_fd() of another node unless pinned. */
int node_fd(struct conn *c, struct node *n);
int node_pin(struct conn *c, struct node *n); /* node_fd() that stays until node_unpin() */
void node_unpin(struct conn *c, struct node *n);
int node_stat(struct conn *c, struct node *n, struct statx *ret);
/* Open for I/O: regular files and directories only. O_CLOEXEC is set. */
int node_open(struct conn *c, struct node *n, int flags);
/* A regular file @name of @dir for reading, and its attributes, without a node for it: for descriptors
 * that are given away. -EAGAIN: it is none, or that way is not there; use node_child and node_open. */
int node_open_read(struct conn *c, struct node *dir, const struct p9_str *name, struct statx *stx);
/* Before and after a name goes away or moves. prepare makes the object survive as a fid. */
struct node *node_find(struct conn *c, struct node *dir, const struct p9_str *name);
void node_prepare_loss(struct conn *c, struct node *n);
void node_detach(struct conn *c, struct node *n);
/* For a file without a name, open as @fd (stays the caller's): lives by its descriptor. */
int node_unnamed(struct conn *c, struct node *dir, int fd, struct statx *stx, struct node **ret);
void node_move(struct conn *c, struct node *n, struct node *dir, const struct p9_str *name);
void node_name_copy(const struct p9_str *name, char ret[P9_NAME_MAX + 1]);
void conn_nodes_fini(struct conn *c);

/* watch.c */
void watch_init(struct conn *c); /* before confinement */
void watch_fini(struct conn *c);
/* Tell the client of the next change in a directory of @e that it knows as @path, @dev: @name in @at, or the
 * descriptor of that number with @at proc_fd; open as @fd. Before something of it is read. Its number, or
 * 0: it is not watched, or not yet. */
int watch_dir(struct conn *c, const struct gofer_export *e, int at, const char *name, int fd,
              uint64_t path, uint64_t dev);
void watch_node(struct conn *c, struct node *n, int fd); /* the same, if it is not yet */
/* Until there is a request, or the socket fails; meanwhile tells of changes. 0, -errno. */
int watch_wait(struct conn *c);

/* fid.c */
struct fid *fid_find(struct conn *c, uint32_t nr);
/* Takes over a reference of @n when it returns 0. -EBADF: in use or reserved, -ENFILE, -ENOMEM */
int fid_add(struct conn *c, uint32_t nr, struct node *n, struct fid **ret);
bool fid_free_nr(struct conn *c, uint32_t nr);
int fid_drop(struct conn *c, struct fid *f); /* result of a pending xattr write */
void fid_drop_all(struct conn *c);
void fid_set_open(struct conn *c, struct fid *f, int fd, int flags);

/* op_*.c: one function per request. Length of the reply encoded at @out, or -errno. */
#define OP(name) int op_##name(struct conn *c, const struct p9_##name *m, uint8_t *out, size_t cap)

/* Requests this server answers, plain and ringbox. */
/* clang-format off */
#define REQUESTS(X)                                                                                \
    X(tversion) X(tauth) X(tflush) X(tattach) X(twalk) X(tclunk) X(tgetattr) X(tsetattr)           \
    X(tstatfs) X(treadlink) X(tlopen) X(tlcreate) X(tread) X(twrite) X(tfsync) X(treaddir)         \
    X(tmkdir) X(tmknod) X(tsymlink) X(tlink) X(trename) X(trenameat) X(tunlinkat) X(tremove)       \
    X(txattrwalk) X(txattrcreate) X(tlock) X(tgetlock)
#define REQUESTS_RINGBOX(X)                                                                        \
    X(twalkattr) X(topenat) X(treaddirattr) X(tcreateat) X(trenameat2) X(tscan)
/* clang-format on */

#define DECLARE(name) OP(name);
REQUESTS(DECLARE)
REQUESTS_RINGBOX(DECLARE)
#undef DECLARE

/* attributes */
void attr_from_statx(const struct conn *c, const struct node *n, const struct statx *stx,
                     struct p9_attr *ret);
struct p9_qid qid_from_statx(const struct conn *c, const struct gofer_export *e,
                             const struct statx *stx);
uint64_t qid_path(const struct conn *c, const struct gofer_export *e, uint64_t dev, uint64_t ino);
void conn_pipe_close(struct conn *c); /* reads are copied from then on */
/* Send what is no reply. 0, -errno. */
int conn_send(struct conn *c, const uint8_t *msg, size_t len);
/* Largest data of a read-like reply. */
uint32_t conn_iounit(const struct conn *c);
/* Queue a descriptor (taken) with the reply being made. */
void conn_donate(struct conn *c, int fd);
/* A directory that the export does not show? */
bool node_hidden(const struct gofer_export *e, uint64_t dev, uint64_t ino);
/* May something beneath the node's export be changed? 0 or -EROFS. */
int node_writable(const struct node *n);
/* 0, or the -errno with which a directory operation on it fails. */
int node_enterable(const struct node *n);
int node_open_flags(const struct node *n, uint32_t wire, int *ret_flags);

#define FD_PATH_MAX 16
void fd_name(int fd, char ret[FD_PATH_MAX]); /* "17", relative to proc_fd */

#endif
