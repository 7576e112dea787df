/* SPDX-License-Identifier: Apache-2.0
 * wire.h - structures, encoders and decoders of all messages, made from messages.def.
 *
 * For each row M(name, nr, fields) there are
 *   P9_NAME_nr                  enum p9_type: P9_tversion = 100 ...
 *   struct p9_name              { uint16_t tag; fields... }
 *   int p9_encode_name(buf, cap, m)  length, or -EMSGSIZE
 *   int p9_decode_name(msg, len, ret) 0, or -EPROTO: not exactly one such message. *ret is
 *                               unspecified then. Strings and data point into @msg.
 *
 * A DATA field whose base is NULL is announced but not copied: the caller puts data.len bytes
 * behind the returned length himself (scatter-gather, or read in place).
 */
#ifndef P9_WIRE_H
#define P9_WIRE_H

#include <stdbool.h>

#include <base/compiler.h>
#include <p9/p9.h>

#define P9_HDR 7u        /* size[4] type[1] tag[2] */
#define P9_IOHDR 24u     /* room for all but the data of Tread, Twrite and their replies */
#define P9_RREAD_HDR 11u /* Rread, Rreaddir: bytes before the data */
#define P9_RSCAN_HDR 23u /* Rscan: the same */
#define P9_STR_MAX 4096u /* longest string in any message (symlink targets) */
#define P9_MSIZE_MIN 8192u

#define P9_QTDIR 0x80u
#define P9_QTSYMLINK 0x02u
#define P9_QTFILE 0x00u

/* Tgetattr masks */
#define P9_STATS_BASIC 0x7ffull
#define P9_STATS_BTIME 0x800ull
#define P9_STATS_ALL 0x3fffull
/* Tsetattr.valid */
#define P9_SETATTR_MODE 1u
#define P9_SETATTR_UID 2u
#define P9_SETATTR_GID 4u
#define P9_SETATTR_SIZE 8u
#define P9_SETATTR_ATIME 16u
#define P9_SETATTR_MTIME 32u
#define P9_SETATTR_CTIME 64u
#define P9_SETATTR_ATIME_SET 128u
#define P9_SETATTR_MTIME_SET 256u
/* Tlock, Tgetlock */
#define P9_LOCK_RDLCK 0u
#define P9_LOCK_WRLCK 1u
#define P9_LOCK_UNLCK 2u
#define P9_LOCK_FLOCK 0x10000u /* flags, ringbox: the lock of flock(2) */
#define P9_LOCK_SUCCESS 0u
#define P9_LOCK_BLOCKED 1u
#define P9_LOCK_ERROR 2u
#define P9_UNLINK_REMOVEDIR 0x200u

struct p9_str {
    const char *s; /* not NUL-terminated */
    uint16_t len;
};

struct p9_data {
    const void *base;
    uint32_t len;
};

struct p9_qid {
    uint8_t type;
    uint32_t version;
    uint64_t path;
};

struct p9_names {
    uint16_t count;
    struct p9_str name[P9_WALK_MAX];
};

struct p9_list {
    uint16_t count;
    struct p9_str name[P9_LIST_MAX];
};

struct p9_qids {
    uint16_t count;
    struct p9_qid qid[P9_WALK_MAX];
};

struct p9_time {
    uint64_t sec;
    uint32_t nsec;
};

/* Attributes in ringbox messages. valid 0: the server could not read them, rest is 0. */
struct p9_attr {
    uint8_t valid;
    struct p9_qid qid;
    uint64_t dev, ino;
    uint32_t mode, uid, gid;
    uint32_t nlink;
    uint64_t rdev, size, blocks;
    uint32_t blksize;
    struct p9_time atime, mtime, ctime, btime;
};

struct p9_attrs {
    uint16_t count;
    struct p9_attr attr[P9_WALK_MAX];
};

#define P9_C_U8 uint8_t
#define P9_C_U16 uint16_t
#define P9_C_U32 uint32_t
#define P9_C_U64 uint64_t
#define P9_C_STR struct p9_str
#define P9_C_DATA struct p9_data
#define P9_C_QID struct p9_qid
#define P9_C_QIDS struct p9_qids
#define P9_C_NAMES struct p9_names
#define P9_C_LIST struct p9_list
#define P9_C_ATTR struct p9_attr
#define P9_C_ATTRS struct p9_attrs

enum p9_type {
#define F(kind, field)
#define M(name, nr, fields) P9_##name = (nr),
#include <p9/messages.def>
#undef M
#undef F
};

#define F(kind, field) P9_C_##kind field;
#define M(name, nr, fields)                                                 \
    struct p9_##name {                                                      \
        uint16_t tag;                                                       \
        fields                                                              \
    };                                                                      \
    int p9_encode_##name(void *buf, size_t cap, const struct p9_##name *m); \
    NODISCARD int p9_decode_##name(const void *msg, size_t len, struct p9_##name *ret);
#include <p9/messages.def>
#undef M
#undef F

/**
 * p9_frame - look at the start of a stream.
 * @have: bytes at @buf. @msize: limit agreed with the peer.
 * Return: size of the message that starts at @buf (which may not be all there yet); 0: fewer than
 * four bytes; -EPROTO: below the smallest or above @msize.
 */
int64_t p9_frame(const void *buf, size_t have, uint32_t msize);

/* Type and tag of a message of at least P9_HDR bytes. */
uint8_t p9_type_of(const void *msg);
uint16_t p9_tag_of(const void *msg);
const char *p9_type_name(uint8_t type); /* "tversion", "?" */

/* May this be a directory entry: 1..255 bytes, no '/' or NUL, not "." or "..". */
bool p9_name_ok(const struct p9_str *name);
bool p9_str_equal(const struct p9_str *a, const char *b);
struct p9_str p9_str_from(const char *s); /* shorter than 64 KiB */

/* Entries inside Rreaddir (attr absent) and Rreaddirattr. */
struct p9_dirent {
    struct p9_qid qid;
    uint64_t offset; /* cookie of the entry behind */
    uint8_t type;    /* DT_* */
    struct p9_str name;
    struct p9_attr attr;
};
/* Append one; bytes used, or -EMSGSIZE. */
int p9_encode_dirent(void *buf, size_t cap, const struct p9_dirent *d, bool with_attr);
/* Take one; bytes used, 0 at the end, or -EPROTO. */
int p9_decode_dirent(const void *buf, size_t len, struct p9_dirent *ret, bool with_attr);

/* Between the listings in one Rscan: what follows, @len bytes of entries with attributes, is all that
 * the directory has which is entry @entry of listing @block of the same reply (0: the directory asked
 * for), or name @entry of the request (@block P9_SCAN_NAMED). */
struct p9_scan_block {
    uint32_t block, entry, len;
};
#define P9_SCAN_NAMED UINT32_MAX
#define P9_SCAN_BLOCK_BYTES 12u
#define P9_SCAN_BLOCKS_MAX 512u /* listings of one reply, the first included */
int p9_encode_scan_block(void *buf, size_t cap, const struct p9_scan_block *b);
/* Take one header and check that its entries are there: bytes of the header, 0 at the end, -EPROTO. */
int p9_decode_scan_block(const void *buf, size_t len, struct p9_scan_block *ret);

#endif
