/* SPDX-License-Identifier: Apache-2.0
 * scan_test.c - Tscan: a directory with attributes, what is beneath, named siblings, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

/* As in the server. */
#define WATCH_LATE_MS 500
#define WATCH_LATE_MAX 64u

static struct client g_client;

static void dir_make(const char *name)
{
    char path[256];
    client_path(&g_client, name, path);
    assert_int_equal(mkdir(path, 0755), 0);
}

static void file_make(const char *name)
{
    char path[256];
    client_path(&g_client, name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

/* Entries of @data[0..len): how many; ".", ".." or without attributes fail. */
static unsigned entries(const void *data, uint32_t len)
{
    unsigned n = 0;
    for (uint32_t at = 0; at < len; n++) {
        struct p9_dirent d;
        int used = p9_decode_dirent((const uint8_t *)data + at, len - at, &d, true);
        assert_true(used > 0 && p9_name_ok(&d.name) && d.attr.valid);
        at += (uint32_t)used;
    }
    return n;
}

/* Blocks behind the own listing: how many; *ret_named: of them by name. */
static unsigned blocks(const struct p9_rscan *s, unsigned *ret_named, unsigned *ret_entries)
{
    unsigned n = 0;
    *ret_named = *ret_entries = 0;
    for (uint32_t at = s->own; at < s->data.len; n++) {
        struct p9_scan_block b;
        const uint8_t *p = (const uint8_t *)s->data.base + at;
        assert_int_equal(p9_decode_scan_block(p, s->data.len - at, &b), P9_SCAN_BLOCK_BYTES);
        assert_true(b.block == P9_SCAN_NAMED || b.block <= n);
        *ret_named += b.block == P9_SCAN_NAMED;
        *ret_entries += entries(p + P9_SCAN_BLOCK_BYTES, b.len);
        at += P9_SCAN_BLOCK_BYTES + b.len;
    }
    return n;
}

static void start(void)
{
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    dir_make("a");
    dir_make("b");
    dir_make("a/deep");
    file_make("a/deep/x");
    file_make("b/y");
    file_make("b/z");
}

static void own_only(void **state)
{
    (void)state;
    struct p9_rscan s;
    start();
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000), 0);
    assert_int_equal(s.next, 0);
    assert_int_equal(s.own, s.data.len);
    assert_int_equal(entries(s.data.base, s.own), 2);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE("b")),
                     0);
    assert_int_equal(entries(s.data.base, s.own), 2);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 77, .count = 60000), -EBADF);
    assert_int_equal(
        rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE("none")), -ENOENT);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE("..")),
                     -EINVAL);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 3), -EINVAL);
    assert_int_equal(client_stop(&g_client), 0);
}

static void beneath_and_siblings(void **state)
{
    (void)state;
    struct p9_rscan s;
    unsigned named, inner;
    char path[256];
    start();
    client_path(&g_client, "c", path);
    assert_int_equal(symlink("b", path), 0);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .ahead = 60000), 0);
    assert_int_equal(entries(s.data.base, s.own), 3);
    assert_int_equal(blocks(&s, &named, &inner), 3); /* a, a/deep, b; not through c */
    assert_int_equal(named, 0);
    assert_int_equal(inner, 4);
    struct p9_list names = {.count = 4, .name = {STR("a"), STR("c"), STR("b"), STR("gone")}};
    assert_int_equal(
        rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .ahead = 60000, .names = names),
        0);
    assert_int_equal(entries(s.data.base, s.own), 1);
    assert_int_equal(blocks(&s, &named, &inner), 2);
    assert_int_equal(named, 1);
    assert_int_equal(inner, 3);
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE("c")),
                     -ENOTDIR);
    /* Room for one of the two small directories only. */
    assert_int_equal(
        rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .ahead = 250, .names = names),
        0);
    assert_int_equal(blocks(&s, &named, &inner), 1);
    assert_int_equal(client_stop(&g_client), 0);
}

/* A listing longer than one reply: every entry once, and nothing ahead before it is complete. */
static void continued(void **state)
{
    (void)state;
    enum { FILES = 300 };
    struct p9_rscan s;
    unsigned total = 0, rounds = 0;
    start();
    for (int i = 0; i < FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "a/f%d", i);
        file_make(name);
    }
    uint64_t offset = 0;
    do {
        assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .offset = offset, .count = 9000,
                             .ahead = 9000, .names = ONE("a")),
                         0);
        total += entries(s.data.base, s.own);
        assert_true(s.next == 0 || s.own == s.data.len);
        offset = s.next;
        rounds++;
    } while (offset);
    assert_int_equal(total, FILES + 1);
    assert_true(rounds > 3);
    assert_int_equal(client_stop(&g_client), 0);
}

/* P9_SCAN_BLOCKS_MAX listings in one reply, and not one more. */
static void block_limit(void **state)
{
    (void)state;
    struct p9_rscan s;
    unsigned named, inner;
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    for (unsigned i = 0; i < P9_SCAN_BLOCKS_MAX - 1; i++) {
        char name[16];
        snprintf(name, sizeof name, "d%u", i);
        dir_make(name);
    }
    for (int more = 0; more < 2; more++) {
        assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = P9_MSIZE_DEFAULT,
                             .ahead = P9_MSIZE_DEFAULT),
                         0);
        assert_int_equal(entries(s.data.base, s.own), P9_SCAN_BLOCKS_MAX - 1 + more);
        assert_int_equal(blocks(&s, &named, &inner), P9_SCAN_BLOCKS_MAX - 1);
        dir_make(more ? "last" : "one-more");
    }
    assert_int_equal(client_stop(&g_client), 0);
}

/* Deeper than SCAN_DEPTH_MAX: the server stops going down, and answers. */
static void deep(void **state)
{
    (void)state;
    struct p9_rscan s;
    unsigned named, inner;
    char name[64] = "d";
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    for (int i = 0; i < 20; i++) {
        dir_make(name);
        strcat(name, "/d");
    }
    assert_int_equal(rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .ahead = 60000), 0);
    unsigned n = blocks(&s, &named, &inner);
    assert_true(n >= 7 && n < 20);
    assert_int_equal(client_stop(&g_client), 0);
}

/* Only names are wanted: attributes of directories alone. */
static void bare(void **state)
{
    struct p9_rscan s;
    struct p9_dirent d;
    unsigned with = 0;
    (void)state;
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    dir_make("bare");
    dir_make("bare/d");
    file_make("bare/f");
    assert_int_equal(
        rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .bare = 1, .names = ONE("bare")),
        0);
    for (uint32_t at = 0; at < s.own;) {
        int n = p9_decode_dirent((const uint8_t *)s.data.base + at, s.own - at, &d, true);
        assert_true(n > 0 && d.attr.valid == (d.type == DT_DIR));
        with += d.attr.valid;
        at += (uint32_t)n;
    }
    assert_int_equal(with, 1);
    assert_int_equal(client_stop(&g_client), 0);
}

static bool told_within(int ms)
{
    struct pollfd p = {.fd = g_client.sock, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void told_of(const struct p9_attr *dir)
{
    struct p9_rchanged told;
    assert_true(told_within(5000));
    assert_int_equal(client_receive(&g_client), 0);
    assert_int_equal(p9_tag_of(g_client.buf), P9_NOTAG);
    assert_int_equal(p9_decode_rchanged(g_client.buf, g_client.len, &told), 0);
    assert_int_equal(told.path, dir ? dir->qid.path : 0);
    assert_int_equal(told.dev, dir ? dir->dev : 0);
}

static void attr_get(const char *name, struct p9_attr *ret)
{
    struct p9_rwalkattr walked;
    assert_int_equal(rpc(&g_client, twalkattr, rwalkattr, &walked, .fid = 1, .newfid = P9_NOFID,
                         .names = ONE(name)),
                     0);
    *ret = walked.attrs.attr[0];
}

/* The next change of a directory that was told of is told, once, after everything may have changed before
 * anything was watched; what is writable is not watched. */
static void changed(void **state)
{
    struct p9_rscan s;
    struct p9_attr dir;
    (void)state;
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    dir_make("watched");
    (void)rpc(&g_client, tscan, rscan, &s, .fid = 0, .count = 60000, .names = ONE("watched"));
    file_make("watched/1");
    assert_false(told_within(WATCH_LATE_MS + 200));
    attr_get("watched", &dir);
    assert_false(told_within(WATCH_LATE_MS / 2));
    told_of(NULL);
    for (unsigned round = 0; round < 2; round++) {
        assert_int_equal(
            rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE("watched")), 0);
        file_make(round ? "watched/2" : "watched/3");
        file_make(round ? "watched/4" : "watched/5");
        told_of(&dir);
        file_make(round ? "watched/6" : "watched/7");
        assert_false(told_within(600)); /* nobody has looked since */
    }
    assert_int_equal(client_stop(&g_client), 0);
}

/* @n directories fit into what is remembered before anything is watched, one more ends that. */
static void late_limit(void **state)
{
    struct p9_rscan s;
    struct p9_attr last;
    char name[16];
    (void)state;
    client_start(&g_client, P9_VERSION_RINGBOX, true);
    for (unsigned i = 0; i < WATCH_LATE_MAX; i++) {
        snprintf(name, sizeof name, "late%u", i);
        dir_make(name);
    }
    for (unsigned i = 0; i < WATCH_LATE_MAX; i++) { /* the root is the first that is looked at */
        assert_int_equal(i ? told_within(0) : 0, 0);
        snprintf(name, sizeof name, "late%u", i);
        assert_int_equal(
            rpc(&g_client, tscan, rscan, &s, .fid = 1, .count = 60000, .names = ONE(name)), 0);
    }
    told_of(NULL);
    attr_get(name, &last);
    snprintf(name + strlen(name), sizeof name - strlen(name), "/x");
    file_make(name);
    told_of(&last);
    assert_int_equal(client_stop(&g_client), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_only),  cmocka_unit_test(beneath_and_siblings),
        cmocka_unit_test(continued), cmocka_unit_test(block_limit),
        cmocka_unit_test(deep),      cmocka_unit_test(bare),
        cmocka_unit_test(changed),   cmocka_unit_test(late_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
