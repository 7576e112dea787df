/* SPDX-License-Identifier: Apache-2.0
 * server_test.c - what the server does for an honest client, plain and ringbox. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client.h"

static struct client g_client; /* a quarter of a MiB */

static void put_file(struct client *c, const char *name, const char *text)
{
    char path[256];
    client_path(c, name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void plain_session(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_PLAIN, true);
    put_file(c, "hello", "hello, world");
    struct p9_rwalk w;
    struct p9_rlopen o;
    struct p9_rread r;
    struct p9_rgetattr g;
    struct p9_rclunk k;
    struct p9_rwalkattr wa;
    struct p9_rstatfs sf;
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 5, .names = ONE("hello")), 0);
    assert_int_equal(w.qids.count, 1);
    assert_int_equal(rpc(c, tgetattr, rgetattr, &g, .fid = 5, .mask = P9_STATS_BASIC), 0);
    assert_int_equal(g.size, 12);
    assert_true(S_ISREG(g.mode));
    assert_int_equal(g.qid.path, w.qids.qid[0].path);
    assert_int_equal(rpc(c, tread, rread, &r, .fid = 5, .count = 10), -EBADF);
    assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = 5, .flags = O_RDONLY), 0);
    assert_int_equal(c->last_fd, -1);
    assert_int_equal(rpc(c, tread, rread, &r, .fid = 5, .offset = 7, .count = 100), 0);
    assert_int_equal(r.data.len, 5);
    assert_memory_equal(r.data.base, "world", 5);
    assert_int_equal(rpc(c, tread, rread, &r, .fid = 5, .offset = 12, .count = 100), 0);
    assert_int_equal(r.data.len, 0);
    assert_int_equal(rpc(c, tclunk, rclunk, &k, .fid = 5), 0);
    assert_int_equal(rpc(c, tclunk, rclunk, &k, .fid = 5), -EBADF);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 5, .names = ONE("none")),
                     -ENOENT);
    /* extensions do not exist for a plain client */
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &wa, .fid = 0, .newfid = 5), -EOPNOTSUPP);
    assert_int_equal(rpc(c, tstatfs, rstatfs, &sf, .fid = 0), 0);
    assert_true(sf.bsize > 0);
    assert_int_equal(client_stop(c), 0);
}

static void ringbox_open_donates(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    put_file(c, "f", "data");
    struct p9_ropenat o;
    struct p9_rwalkattr w;
    struct p9_rclunk k;
    char buf[8];
    static const uint32_t modes[] = {O_RDONLY, O_WRONLY, O_RDWR, O_RDWR | O_APPEND};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 9, .flags = modes[i],
                             .name = STR("f")),
                         0);
        assert_int_equal(o.with_fd, 1);
        assert_true(c->last_fd >= 0);
        assert_int_equal(fcntl(c->last_fd, F_GETFL) & (O_ACCMODE | O_APPEND), modes[i]);
        assert_int_equal(o.attr.size, 4);
        assert_int_equal(rpc(c, tclunk, rclunk, &k, .fid = 9), -EBADF);
    }
    /* a read-only export gives read-only descriptors and no others */
    for (unsigned i = 1; i < 4; i++)
        assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 1, .newfid = 9, .flags = modes[i],
                             .name = STR("f")),
                         -EROFS);
    assert_int_equal(
        rpc(c, topenat, ropenat, &o, .fid = 1, .newfid = 9, .flags = O_RDONLY, .name = STR("f")),
        0);
    assert_int_equal(write(c->last_fd, "x", 1), -1);
    assert_int_equal(read(c->last_fd, buf, 8), 4);
    /* directories are not donated but opened */
    assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 9, .flags = O_RDONLY), 0);
    assert_int_equal(o.with_fd, 0);
    assert_int_equal(c->last_fd, -1);
    assert_int_equal(rpc(c, tclunk, rclunk, &k, .fid = 9), 0);
    /* walk with attributes, stopping where it must */
    struct p9_names names = {.count = 2, .name = {STR("f"), STR("g")}};
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 0, .newfid = 9, .names = names), 0);
    assert_int_equal(w.attrs.count, 1);
    assert_int_equal(w.error, ENOTDIR);
    assert_int_equal(rpc(c, tclunk, rclunk, &k, .fid = 9), -EBADF);
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 0, .newfid = P9_NOFID), 0);
    assert_int_equal(w.attrs.count, 1);
    assert_true(S_ISDIR(w.attrs.attr[0].mode));
    assert_int_equal(client_stop(c), 0);
}

static void without_donation(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, false);
    put_file(c, "f", "data");
    struct p9_ropenat o;
    struct p9_rread r;
    assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 9, .name = STR("f")), 0);
    assert_int_equal(o.with_fd, 0);
    assert_int_equal(rpc(c, tread, rread, &r, .fid = 9, .count = 100), 0);
    assert_int_equal(r.data.len, 4);
    assert_int_equal(client_stop(c), 0);
}

/* Lists fid 9 to the end; returns how many entries, checks that each name comes once. */
static unsigned list_all(struct client *c, unsigned files, bool with_attr)
{
    uint8_t *seen = calloc(files, 1);
    uint64_t offset = 0;
    unsigned total = 0;
    for (;;) {
        struct p9_rreaddirattr ra;
        struct p9_rreaddir rp;
        struct p9_data data;
        if (with_attr) {
            assert_int_equal(
                rpc(c, treaddirattr, rreaddirattr, &ra, .fid = 9, .offset = offset, .count = 20000),
                0);
            data = ra.data;
        } else {
            assert_int_equal(
                rpc(c, treaddir, rreaddir, &rp, .fid = 9, .offset = offset, .count = 20000), 0);
            data = rp.data;
        }
        if (data.len == 0)
            break;
        for (uint32_t at = 0; at < data.len;) {
            struct p9_dirent d;
            int n = p9_decode_dirent((const uint8_t *)data.base + at, data.len - at, &d, with_attr);
            assert_true(n > 0);
            at += (uint32_t)n;
            offset = d.offset;
            total++;
            if (d.name.s[0] != 'e')
                continue;
            char number[16] = {0};
            memcpy(number, d.name.s + 1, MIN(d.name.len - 1u, 15u));
            unsigned i = (unsigned)atoi(number);
            assert_true(i < files && !seen[i]);
            seen[i] = 1;
            if (with_attr)
                assert_true(d.attr.valid && S_ISREG(d.attr.mode));
        }
    }
    free(seen);
    return total;
}

static void big_directory(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    struct p9_ropenat o;
    for (int i = 0; i < 10000; i++) {
        char name[32], path[256];
        snprintf(name, sizeof name, "e%d", i);
        client_path(c, name, path);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 9), 0);
    assert_int_equal(list_all(c, 10000, false), 10002);
    assert_int_equal(list_all(c, 10000, true), 10002);
    assert_int_equal(client_stop(c), 0);
}

static void write_and_names(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_PLAIN, false);
    struct p9_rwalk w;
    struct p9_rlcreate cr;
    struct p9_rwrite wr;
    struct p9_rread rd;
    struct p9_rmkdir md;
    struct p9_rrenameat rn;
    struct p9_runlinkat ul;
    struct p9_rsetattr sa;
    struct p9_rgetattr g;
    struct p9_rsymlink sy;
    struct p9_rreadlink rl;
    struct p9_rlink li;
    struct p9_rfsync fs;
    assert_int_equal(
        rpc(c, tmkdir, rmkdir, &md, .dfid = 0, .name = STR("d"), .mode = 0755, .gid = UINT32_MAX),
        0);
    assert_int_equal(rpc(c, tmkdir, rmkdir, &md, .dfid = 0, .name = STR("d"), .mode = 0755),
                     -EEXIST);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 3, .names = ONE("d")), 0);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 3, .newfid = 4), 0);
    assert_int_equal(rpc(c, tlcreate, rlcreate, &cr, .fid = 4, .name = STR("f"),
                         .flags = O_RDWR | O_EXCL, .mode = 0644, .gid = UINT32_MAX),
                     0);
    assert_int_equal(rpc(c, twrite, rwrite, &wr, .fid = 4, .data = {.base = "abcdef", .len = 6}),
                     0);
    assert_int_equal(wr.count, 6);
    assert_int_equal(rpc(c, tfsync, rfsync, &fs, .fid = 4), 0);
    assert_int_equal(
        rpc(c, tsetattr, rsetattr, &sa, .fid = 4,
            .valid = P9_SETATTR_SIZE | P9_SETATTR_MODE | P9_SETATTR_MTIME | P9_SETATTR_MTIME_SET,
            .size = 3, .mode = 0600, .mtime_sec = 1000),
        0);
    assert_int_equal(rpc(c, tgetattr, rgetattr, &g, .fid = 4, .mask = P9_STATS_ALL), 0);
    assert_int_equal(g.size, 3);
    assert_int_equal(g.mode & 07777, 0600);
    assert_int_equal(g.mtime_sec, 1000);
    /* rename the directory: the fid of the file follows, and so does a walk from the old fid */
    assert_int_equal(rpc(c, trenameat, rrenameat, &rn, .odfid = 0, .oname = STR("d"), .ndfid = 0,
                         .nname = STR("e")),
                     0);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 3, .newfid = 6, .names = ONE("f")), 0);
    assert_int_equal(rpc(c, tlink, rlink, &li, .dfid = 0, .fid = 6, .name = STR("hard")), 0);
    assert_int_equal(rpc(c, tgetattr, rgetattr, &g, .fid = 6, .mask = P9_STATS_ALL), 0);
    assert_int_equal(g.nlink, 2);
    assert_int_equal(rpc(c, tsymlink, rsymlink, &sy, .dfid = 0, .name = STR("s"),
                         .target = STR("/etc/passwd"), .gid = UINT32_MAX),
                     0);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 7, .names = ONE("s")), 0);
    assert_int_equal(rpc(c, treadlink, rreadlink, &rl, .fid = 7), 0);
    assert_true(p9_str_equal(&rl.target, "/etc/passwd"));
    /* an unlinked open file lives by its fid; an unopened one too */
    assert_int_equal(rpc(c, tunlinkat, runlinkat, &ul, .dfid = 0, .name = STR("hard")), 0);
    assert_int_equal(rpc(c, tunlinkat, runlinkat, &ul, .dfid = 3, .name = STR("f")), 0);
    assert_int_equal(rpc(c, tread, rread, &rd, .fid = 4, .count = 10), 0);
    assert_int_equal(rd.data.len, 3);
    assert_int_equal(rpc(c, tgetattr, rgetattr, &g, .fid = 6, .mask = P9_STATS_ALL), 0);
    assert_int_equal(g.nlink, 0);
    assert_int_equal(rpc(c, tunlinkat, runlinkat, &ul, .dfid = 0, .name = STR("e")), -EISDIR);
    assert_int_equal(rpc(c, tunlinkat, runlinkat, &ul, .dfid = 0, .name = STR("e"),
                         .flags = P9_UNLINK_REMOVEDIR),
                     0);
    assert_int_equal(client_stop(c), 0);
}

static void xattrs(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_PLAIN, false);
    put_file(c, "f", "x");
    struct p9_rwalk w;
    struct p9_rxattrcreate xc;
    struct p9_rxattrwalk xw;
    struct p9_rwrite wr;
    struct p9_rread rd;
    struct p9_rclunk k;
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 3, .names = ONE("f")), 0);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 4, .names = ONE("f")), 0);
    assert_int_equal(
        rpc(c, txattrcreate, rxattrcreate, &xc, .fid = 4, .name = STR("user.k"), .size = 3), 0);
    assert_int_equal(rpc(c, twrite, rwrite, &wr, .fid = 4, .data = {.base = "valu", .len = 4}),
                     -EINVAL);
    assert_int_equal(rpc(c, twrite, rwrite, &wr, .fid = 4, .data = {.base = "val", .len = 3}), 0);
    int r = rpc(c, tclunk, rclunk, &k, .fid = 4);
    if (r == -EOPNOTSUPP) {
        assert_int_equal(client_stop(c), 0);
        skip(); /* the file system of /tmp has none */
    }
    assert_int_equal(r, 0);
    assert_int_equal(
        rpc(c, txattrwalk, rxattrwalk, &xw, .fid = 3, .newfid = 5, .name = STR("user.k")), 0);
    assert_int_equal(xw.size, 3);
    assert_int_equal(rpc(c, tread, rread, &rd, .fid = 5, .count = 100), 0);
    assert_memory_equal(rd.data.base, "val", 3);
    assert_int_equal(rpc(c, txattrwalk, rxattrwalk, &xw, .fid = 3, .newfid = 6, .name = STR("")),
                     0);
    assert_true(xw.size >= 7);
    assert_int_equal(
        rpc(c, txattrwalk, rxattrwalk, &xw, .fid = 3, .newfid = 7, .name = STR("user.none")),
        -ENODATA);
    assert_int_equal(client_stop(c), 0);
}

static void locks(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_PLAIN, false);
    put_file(c, "f", "x");
    struct p9_rwalk w;
    struct p9_rlopen o;
    struct p9_rlock l;
    struct p9_rgetlock gl;
    for (uint32_t fid = 3; fid < 5; fid++) {
        assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = fid, .names = ONE("f")), 0);
        assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = fid, .flags = O_RDWR), 0);
        assert_int_equal(
            rpc(c, tlock, rlock, &l, .fid = fid, .type = P9_LOCK_WRLCK, .client_id = STR("h")), 0);
        assert_int_equal(l.status, fid == 3 ? P9_LOCK_SUCCESS : P9_LOCK_BLOCKED);
    }
    assert_int_equal(
        rpc(c, tgetlock, rgetlock, &gl, .fid = 4, .type = P9_LOCK_WRLCK, .client_id = STR("h")), 0);
    assert_int_equal(gl.type, P9_LOCK_WRLCK);
    assert_int_equal(client_stop(c), 0);
}

/* Many requests in one write: answers come in order, each with its tag; descriptors too. */
static void pipelining(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    put_file(c, "f", "data");
    static uint8_t batch[65536];
    size_t n = 0;
    for (uint16_t tag = 0; tag < 200; tag++) {
        struct p9_topenat o = {.tag = tag, .fid = 0, .newfid = 9, .name = STR("f")};
        n += (size_t)p9_encode_topenat(batch + n, sizeof batch - n, &o);
    }
    assert_int_equal(send(c->sock, batch, n, 0), (ssize_t)n);
    for (uint16_t tag = 0; tag < 200; tag++) {
        struct p9_ropenat o;
        assert_int_equal(client_receive(c), 0);
        assert_int_equal(p9_decode_ropenat(c->buf, c->len, &o), 0);
        assert_int_equal(o.tag, tag);
        assert_int_equal(o.with_fd, 1);
    }
    assert_int_equal(client_stop(c), 0);
}

/* More objects than descriptors: old ones are closed and reopened by path. */
static void descriptor_pressure(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256];
    client_path(c, "a", path);
    assert_int_equal(mkdir(path, 0755), 0);
    client_path(c, "a/b", path);
    assert_int_equal(mkdir(path, 0755), 0);
    struct p9_rwalkattr w;
    struct p9_names dirs = {.count = 2, .name = {STR("a"), STR("b")}};
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 0, .newfid = 9, .names = dirs), 0);
    enum { FILES = 12000 }; /* above nofile / 2 = 10,000 where the limit is 20,000 */
    for (uint32_t i = 0; i < FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "a/b/f%u", i);
        put_file(c, name, "");
        assert_int_equal(
            rpc(c, twalkattr, rwalkattr, &w, .fid = 9, .newfid = 100 + i, .names = ONE(name + 4)),
            0);
        assert_int_equal(w.error, 0);
    }
    for (uint32_t i = 0; i < FILES; i += 7) {
        assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 100 + i, .newfid = P9_NOFID), 0);
        assert_int_equal(w.error, 0);
    }
    assert_int_equal(client_stop(c), 0);
}

/* A file without a name: written by its descriptor, named later by Tlink. */
static void unnamed(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256], text[8] = {0};
    struct p9_rcreateat ca;
    struct p9_rlink li;
    struct p9_rclunk ck;
    int r =
        rpc(c, tcreateat, rcreateat, &ca, .fid = 0, .newfid = 3, .mode = 0640, .gid = UINT32_MAX);
    if (r == -EOPNOTSUPP) {
        assert_int_equal(client_stop(c), 0);
        skip(); /* not on this file system */
    }
    assert_int_equal(r, 0);
    assert_int_equal(ca.with_fd, 1);
    assert_int_equal(ca.attr.nlink, 0);
    assert_int_equal(ca.attr.mode, S_IFREG | 0640);
    assert_int_equal(write(c->last_fd, "data", 4), 4);
    close(c->last_fd);
    c->last_fd = -1;
    assert_int_equal(rpc(c, tlink, rlink, &li, .dfid = 0, .fid = 3, .name = STR("named")), 0);
    assert_int_equal(rpc(c, tclunk, rclunk, &ck, .fid = 3), 0);
    client_path(c, "named", path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, 8), 4);
    close(fd);
    assert_int_equal(client_stop(c), 0);
}

/* The lock of flock(2) is another than those of ranges. */
static void flocks(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256];
    struct p9_rwalk w;
    struct p9_rlopen o;
    struct p9_rlock l;
    client_path(c, "f", path);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 3, .names = ONE("f")), 0);
    assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = 3, .flags = O_RDWR), 0);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    static const struct {
        uint32_t flags;
        uint8_t type, status;
    } tries[] = {{P9_LOCK_FLOCK, P9_LOCK_WRLCK, P9_LOCK_BLOCKED},
                 {0, P9_LOCK_WRLCK, P9_LOCK_SUCCESS},
                 {0, P9_LOCK_UNLCK, P9_LOCK_SUCCESS},
                 {P9_LOCK_FLOCK, P9_LOCK_RDLCK, P9_LOCK_SUCCESS}};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(rpc(c, tlock, rlock, &l, .fid = 3, .type = tries[i].type,
                             .flags = tries[i].flags, .client_id = STR("")),
                         0);
        assert_int_equal(l.status, tries[i].status);
    }
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
    assert_int_equal(
        rpc(c, tlock, rlock, &l, .fid = 3, .type = 3, .flags = P9_LOCK_FLOCK, .client_id = STR("")),
        -EINVAL);
    assert_int_equal(rpc(c, tlock, rlock, &l, .fid = 3, .type = P9_LOCK_UNLCK,
                         .flags = P9_LOCK_FLOCK, .client_id = STR("")),
                     0);
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    assert_int_equal(client_stop(c), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_session),
        cmocka_unit_test(ringbox_open_donates),
        cmocka_unit_test(without_donation),
        cmocka_unit_test(big_directory),
        cmocka_unit_test(write_and_names),
        cmocka_unit_test(xattrs),
        cmocka_unit_test(locks),
        cmocka_unit_test(flocks),
        cmocka_unit_test(unnamed),
        cmocka_unit_test(pipelining),
        cmocka_unit_test(descriptor_pressure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
