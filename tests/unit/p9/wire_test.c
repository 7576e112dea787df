/* SPDX-License-Identifier: Apache-2.0
 * wire_test.c - the codec: every message of messages.def goes through fill, encode, decode, encode;
 * then cut short at every length, then mutated. What decodes must encode to the same bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <p9/wire.h>

static uint64_t g_seed = 42;

static uint64_t next_random(void)
{
    g_seed ^= g_seed << 13;
    g_seed ^= g_seed >> 7;
    g_seed ^= g_seed << 17;
    return g_seed;
}

static void fill_U8(uint8_t *v)
{
    *v = (uint8_t)next_random();
}

static void fill_U16(uint16_t *v)
{
    *v = (uint16_t)next_random();
}

static void fill_U32(uint32_t *v)
{
    *v = (uint32_t)next_random();
}

static void fill_U64(uint64_t *v)
{
    *v = next_random();
}

static void fill_STR(struct p9_str *v)
{
    static const char text[] = "abcdefghijklmnopqrstuvwxyz./-_";
    v->len = (uint16_t)(next_random() % sizeof text);
    v->s = text;
}

static void fill_DATA(struct p9_data *v)
{
    static const char bytes[300];
    v->len = (uint32_t)(next_random() % sizeof bytes);
    v->base = bytes;
}

static void fill_QID(struct p9_qid *v)
{
    fill_U8(&v->type);
    fill_U32(&v->version);
    fill_U64(&v->path);
}

static void fill_QIDS(struct p9_qids *v)
{
    v->count = (uint16_t)(next_random() % (P9_WALK_MAX + 1));
    for (unsigned i = 0; i < v->count; i++)
        fill_QID(&v->qid[i]);
}

static void fill_NAMES(struct p9_names *v)
{
    v->count = (uint16_t)(next_random() % (P9_WALK_MAX + 1));
    for (unsigned i = 0; i < v->count; i++)
        fill_STR(&v->name[i]);
}

static void fill_LIST(struct p9_list *v)
{
    v->count = (uint16_t)(next_random() % (P9_LIST_MAX + 1));
    for (unsigned i = 0; i < v->count; i++)
        fill_STR(&v->name[i]);
}

static void fill_ATTR(struct p9_attr *v)
{
    memset(v, 0, sizeof *v);
    v->valid = 1;
    fill_QID(&v->qid);
    fill_U64(&v->dev);
    fill_U64(&v->size);
    fill_U32(&v->mode);
    v->mtime.nsec = 999999999;
}

static void fill_ATTRS(struct p9_attrs *v)
{
    v->count = (uint16_t)(next_random() % (P9_WALK_MAX + 1));
    for (unsigned i = 0; i < v->count; i++)
        fill_ATTR(&v->attr[i]);
}

/* Decode, and if that worked encode again and compare. Returns the decoder's answer. */
typedef int check_fn(const uint8_t *msg, size_t len);
static uint8_t g_again[P9_MSIZE_DEFAULT];

#define M(name, nr, fields)                                                       \
    static int check_##name(const uint8_t *msg, size_t len)                       \
    {                                                                             \
        struct p9_##name m;                                                       \
        int r = p9_decode_##name(msg, len, &m);                                   \
        if (r == 0) {                                                             \
            assert_int_equal(p9_encode_##name(g_again, sizeof g_again, &m), len); \
            assert_memory_equal(g_again, msg, len);                               \
        }                                                                         \
        return r;                                                                 \
    }
#include <p9/messages.def>
#undef M

#define F(kind, field) fill_##kind(&m.field);
#define M(name, nr, fields)                           \
    static int make_##name(uint8_t *buf, size_t cap)  \
    {                                                 \
        struct p9_##name m;                           \
        m.tag = 77;                                   \
        fields return p9_encode_##name(buf, cap, &m); \
    }
#include <p9/messages.def>
#undef M
#undef F

static const struct {
    const char *name;
    int nr;
    int (*make)(uint8_t *buf, size_t cap);
    check_fn *check;
} messages[] = {
#define M(name, nr, fields) {#name, nr, make_##name, check_##name},
#include <p9/messages.def>
#undef M
};

/* A copy of exactly n bytes on the heap, so that sanitizers see a read past the end. */
static int check_exact(check_fn *check, const uint8_t *msg, size_t n)
{
    uint8_t *copy = malloc(n ? n : 1);
    assert_non_null(copy);
    memcpy(copy, msg, n);
    int r = check(copy, n);
    free(copy);
    return r;
}

static void round_trips(void **state)
{
    (void)state;
    uint8_t buf[8192];
    for (unsigned i = 0; i < ARRAY_SIZE(messages); i++)
        for (int round = 0; round < 20; round++) {
            int n = messages[i].make(buf, sizeof buf);
            assert_true(n >= (int)P9_HDR);
            assert_int_equal(p9_frame(buf, (size_t)n, sizeof buf), n);
            assert_int_equal(p9_type_of(buf), messages[i].nr);
            assert_int_equal(p9_tag_of(buf), 77);
            assert_string_equal(p9_type_name((uint8_t)messages[i].nr), messages[i].name);
            assert_int_equal(check_exact(messages[i].check, buf, (size_t)n), 0);
            assert_int_equal(messages[i].make(buf, P9_HDR - 1), -EMSGSIZE);
        }
}

static void truncations(void **state)
{
    (void)state;
    uint8_t buf[8192];
    for (unsigned i = 0; i < ARRAY_SIZE(messages); i++) {
        int n = messages[i].make(buf, sizeof buf);
        for (int cut = 0; cut < n; cut++) {
            assert_int_equal(check_exact(messages[i].check, buf, (size_t)cut), -EPROTO);
            if (cut >= 4) { /* also with a size field that agrees */
                uint8_t small[8192];
                memcpy(small, buf, (size_t)cut);
                for (int b = 0; b < 4; b++)
                    small[b] = (uint8_t)(cut >> (8 * b));
                assert_int_equal(check_exact(messages[i].check, small, (size_t)cut), -EPROTO);
            }
        }
    }
}

static void mutations(void **state)
{
    (void)state;
    uint8_t buf[8192];
    for (int round = 0; round < 30000; round++) {
        unsigned i = (unsigned)(next_random() % ARRAY_SIZE(messages));
        int n = messages[i].make(buf, sizeof buf);
        for (unsigned k = 1 + (unsigned)(next_random() % 4); k; k--)
            buf[next_random() % (unsigned)n] = (uint8_t)next_random();
        (void)check_exact(messages[i].check, buf, (size_t)n);
    }
}

/* Bytes as a Linux client sends them, written by hand: keeps layout errors from cancelling out. */
static void known_bytes(void **state)
{
    (void)state;
    static const uint8_t walk[] = {23, 0, 0, 0, 110, 5, 0, 1,   0,   0,   0,  2,
                                   0,  0, 0, 1, 0,   4, 0, 'e', 't', 'c', '/'};
    struct p9_twalk w;
    assert_int_equal(p9_decode_twalk(walk, sizeof walk, &w), 0);
    assert_int_equal(w.fid, 1);
    assert_int_equal(w.newfid, 2);
    assert_int_equal(w.names.count, 1);
    assert_true(p9_str_equal(&w.names.name[0], "etc/"));
    assert_false(p9_name_ok(&w.names.name[0]));
    static const uint8_t version[] = {21, 0, 0,   0,   100, 0xff, 0xff, 0,   0,   4,  0,
                                      8,  0, '9', 'P', '2', '0',  '0',  '0', '.', 'L'};
    struct p9_tversion v;
    assert_int_equal(p9_decode_tversion(version, sizeof version, &v), 0);
    assert_int_equal(v.msize, 262144);
    assert_true(p9_str_equal(&v.version, P9_VERSION_PLAIN));
    assert_int_equal(P9_tgetattr, 24);
    assert_int_equal(P9_runlinkat, 77);
}

static void limits(void **state)
{
    (void)state;
    uint8_t buf[64] = {0};
    assert_int_equal(p9_frame(buf, 3, 8192), 0);
    assert_int_equal(p9_frame(buf, 4, 8192), -EPROTO); /* size 0 */
    buf[0] = 6;
    assert_int_equal(p9_frame(buf, 4, 8192), -EPROTO);
    buf[1] = 0x20;
    assert_int_equal(p9_frame(buf, 4, 8192), -EPROTO); /* 8198 */
    buf[0] = 0;
    assert_int_equal(p9_frame(buf, 4, 8192), 8192);

    struct p9_twalk w = {.names = {.count = P9_WALK_MAX + 1}};
    static uint8_t big[16384];
    assert_int_equal(p9_encode_twalk(big, sizeof big, &w), -EMSGSIZE);
    struct p9_tscan scan = {.names = {.count = P9_LIST_MAX}};
    for (unsigned i = 0; i < P9_LIST_MAX; i++)
        scan.names.name[i] = p9_str_from("n");
    assert_true(p9_encode_tscan(big, sizeof big, &scan) > 0);
    scan.names.count++;
    assert_int_equal(p9_encode_tscan(big, sizeof big, &scan), -EMSGSIZE);
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        struct p9_str s = p9_str_from(bad[i]);
        assert_false(p9_name_ok(&s));
    }
    static const char *const good[] = {"a", "...", ".a", "..a", " "};
    for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
        struct p9_str s = p9_str_from(good[i]);
        assert_true(p9_name_ok(&s));
    }
    char name[257];
    memset(name, 'n', 256);
    assert_false(p9_name_ok(&(struct p9_str){.s = name, .len = 256}));
    assert_true(p9_name_ok(&(struct p9_str){.s = name, .len = 255}));
    assert_false(p9_name_ok(&(struct p9_str){.s = "a\0b", .len = 3}));
}

static void data_without_copy(void **state)
{
    (void)state;
    uint8_t buf[64];
    struct p9_rread r = {.tag = 1, .data = {.base = NULL, .len = 1000}};
    assert_int_equal(p9_encode_rread(buf, sizeof buf, &r), P9_RREAD_HDR);
    assert_int_equal(p9_frame(buf, 4, 8192), P9_RREAD_HDR + 1000);
}

static void entries(void **state)
{
    (void)state;
    uint8_t buf[512];
    for (int with_attr = 0; with_attr < 2; with_attr++) {
        struct p9_dirent d = {.offset = 9, .type = 4, .name = p9_str_from("x")}, e;
        int n = p9_encode_dirent(buf, sizeof buf, &d, with_attr);
        assert_true(n > 0);
        assert_int_equal(p9_decode_dirent(buf, (size_t)n, &e, with_attr), n);
        assert_int_equal(e.offset, 9);
        assert_int_equal(p9_decode_dirent(buf, 0, &e, with_attr), 0);
        for (int cut = 1; cut < n; cut++)
            assert_int_equal(p9_decode_dirent(buf, (size_t)cut, &e, with_attr), -EPROTO);
        assert_int_equal(p9_encode_dirent(buf, (size_t)n - 1, &d, with_attr), -EMSGSIZE);
    }
}

static void scan_blocks(void **state)
{
    (void)state;
    uint8_t buf[64] = {0};
    struct p9_scan_block b = {.block = 3, .entry = 4, .len = 5}, got;
    int n = p9_encode_scan_block(buf, sizeof buf, &b);
    assert_int_equal(n, P9_SCAN_BLOCK_BYTES);
    assert_int_equal(p9_decode_scan_block(buf, (size_t)n + 5, &got), n);
    assert_memory_equal(&b, &got, sizeof b);
    assert_int_equal(p9_decode_scan_block(buf, (size_t)n + 4, &got), -EPROTO); /* entries missing */
    assert_int_equal(p9_decode_scan_block(buf, 7, &got), -EPROTO);
    assert_int_equal(p9_decode_scan_block(buf, 0, &got), 0);
    assert_int_equal(p9_encode_scan_block(buf, P9_SCAN_BLOCK_BYTES - 1, &b), -EMSGSIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trips), cmocka_unit_test(truncations),
        cmocka_unit_test(mutations),   cmocka_unit_test(known_bytes),
        cmocka_unit_test(limits),      cmocka_unit_test(data_without_copy),
        cmocka_unit_test(entries),     cmocka_unit_test(scan_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
