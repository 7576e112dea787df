/* SPDX-License-Identifier: Apache-2.0
 * attack_test.c - a hostile client: escapes, writes to a read-only export, malformed messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "client.h"

static struct client g_client;

static void put_file(struct client *c, const char *name, const char *text)
{
    char path[256];
    client_path(c, name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static uint64_t inode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_ino;
}

static void symlinks_do_not_lead_out(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256];
    struct p9_rwalk w;
    struct p9_rwalkattr wa;
    struct p9_ropenat o;
    struct p9_rcreateat cr;
    client_path(c, "abs", path);
    assert_int_equal(symlink("/etc", path), 0);
    client_path(c, "rel", path);
    assert_int_equal(symlink("../../etc/passwd", path), 0);
    client_path(c, "newfile", path);
    assert_int_equal(symlink("/tmp/gofer-escaped", path), 0);
    static const char *const links[] = {"abs", "rel", "newfile"};
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(
            rpc(c, twalkattr, rwalkattr, &wa, .fid = 0, .newfid = 20 + i, .names = ONE(links[i])),
            0);
        assert_int_equal(wa.error, 0);
        assert_true(S_ISLNK(wa.attrs.attr[0].mode)); /* the link itself */
        assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 20 + i, .newfid = 30), -ELOOP);
        assert_int_equal(
            rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 30, .name = STR(links[i])), -ELOOP);
        assert_int_equal(
            rpc(c, twalk, rwalk, &w, .fid = 20 + i, .newfid = 31, .names = ONE("passwd")),
            -ENOTDIR);
        assert_int_equal(rpc(c, tcreateat, rcreateat, &cr, .fid = 0, .newfid = 30,
                             .name = STR(links[i]), .flags = O_RDWR, .mode = 0644),
                         -ELOOP);
    }
    assert_int_equal(access("/tmp/gofer-escaped", F_OK), -1);
    assert_int_equal(client_stop(c), 0);
}

static void dotdot_stays(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_PLAIN, true);
    struct p9_rwalk w;
    struct p9_names up = {.count = 16};
    for (unsigned i = 0; i < 16; i++)
        up.name[i] = STR("..");
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 3, .names = up), 0);
    assert_int_equal(w.qids.qid[15].path, inode_of(c->dir));
    static const char *const bad[] = {"../etc", "/etc", "a/../..", ""};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 4, .names = ONE(bad[i])),
                         -EINVAL);
    assert_int_equal(client_stop(c), 0);
}

/* A directory that the client holds is moved out, and a link put in its place. */
static void replaced_under_the_server(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char d[256], moved[256];
    struct p9_rwalk w;
    struct p9_rwalkattr wa;
    client_path(c, "d", d);
    client_path(c, "d2", moved);
    assert_int_equal(mkdir(d, 0755), 0);
    put_file(c, "d/in", "x");
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 0, .newfid = 3, .names = ONE("d")), 0);
    assert_int_equal(rename(d, moved), 0);
    assert_int_equal(symlink("/etc", d), 0);
    /* the fid still is the directory it was; a new walk sees the link */
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 3, .newfid = 4, .names = ONE("in")), 0);
    assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 3, .newfid = 5, .names = ONE("passwd")),
                     -ENOENT);
    struct p9_names two = {.count = 2, .name = {STR("d"), STR("passwd")}};
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &wa, .fid = 0, .newfid = 6, .names = two), 0);
    assert_int_equal(wa.error, ENOTDIR);
    assert_int_equal(client_stop(c), 0);
}

static void special_files_stay_shut(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256];
    struct p9_ropenat o;
    struct p9_rwalkattr w;
    struct p9_rmknod mk;
    client_path(c, "fifo", path);
    assert_int_equal(mkfifo(path, 0666), 0);
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 0, .newfid = 3, .names = ONE("fifo")),
                     0);
    assert_true(S_ISFIFO(w.attrs.attr[0].mode));
    for (uint32_t flags = 0; flags < 3; flags++)
        assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 3, .newfid = 4, .flags = flags),
                         -EACCES);
    client_path(c, "null", path);
    if (mknod(path, S_IFCHR | 0666, makedev(1, 3)) == 0)
        assert_int_equal(rpc(c, topenat, ropenat, &o, .fid = 0, .newfid = 4, .name = STR("null")),
                         -EACCES);
    assert_int_equal(rpc(c, tmknod, rmknod, &mk, .dfid = 0, .name = STR("mem"),
                         .mode = S_IFCHR | 0666, .major = 1, .minor = 1),
                     -EPERM);
    assert_int_equal(client_stop(c), 0);
}

static void read_only_is_read_only(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    put_file(c, "f", "data");
    struct p9_rwalk w;
    struct p9_rlopen o;
    struct p9_rlcreate lc;
    struct p9_rcreateat ca;
    struct p9_rwrite wr;
    struct p9_rmkdir md;
    struct p9_rmknod mk;
    struct p9_rsymlink sy;
    struct p9_rlink li;
    struct p9_rrename rn;
    struct p9_rrenameat ra;
    struct p9_rrenameat2 ra2;
    struct p9_runlinkat ul;
    struct p9_rremove rm;
    struct p9_rsetattr sa;
    struct p9_rxattrcreate xc;
    struct p9_rlock lk;
    for (uint32_t fid = 10; fid < 14; fid++)
        assert_int_equal(rpc(c, twalk, rwalk, &w, .fid = 1, .newfid = fid, .names = ONE("f")), 0);
    static const uint32_t flags[] = {O_WRONLY, O_RDWR, O_TRUNC, O_RDWR | O_TRUNC | O_APPEND};
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = 10, .flags = flags[i]), -EROFS);
    assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = 10, .flags = 3), -EINVAL);
    assert_int_equal(rpc(c, tlopen, rlopen, &o, .fid = 10, .flags = O_RDONLY), 0);
    assert_int_equal(rpc(c, twrite, rwrite, &wr, .fid = 10, .data = {.base = "x", .len = 1}),
                     -EROFS);
    assert_int_equal(
        rpc(c, tlcreate, rlcreate, &lc, .fid = 1, .name = STR("n"), .flags = O_RDWR, .mode = 0644),
        -EROFS);
    assert_int_equal(rpc(c, tlcreate, rlcreate, &lc, .fid = 1, .name = STR("f"), .flags = O_RDONLY,
                         .mode = 0644),
                     -EROFS);
    assert_int_equal(rpc(c, tcreateat, rcreateat, &ca, .fid = 1, .newfid = 20, .name = STR("n"),
                         .flags = O_RDWR, .mode = 0644),
                     -EROFS);
    assert_int_equal(rpc(c, tcreateat, rcreateat, &ca, .fid = 1, .newfid = 20, .name = STR(""),
                         .flags = O_RDWR, .mode = 0644),
                     -EROFS);
    /* a lock would keep its users from a file that cannot be written */
    assert_int_equal(
        rpc(c, tlock, rlock, &lk, .fid = 10, .type = P9_LOCK_RDLCK, .client_id = STR("")),
        -EOPNOTSUPP);
    assert_int_equal(rpc(c, tlock, rlock, &lk, .fid = 10, .type = P9_LOCK_WRLCK,
                         .flags = P9_LOCK_FLOCK, .client_id = STR("")),
                     -EOPNOTSUPP);
    assert_int_equal(rpc(c, tmkdir, rmkdir, &md, .dfid = 1, .name = STR("n"), .mode = 0755),
                     -EROFS);
    assert_int_equal(rpc(c, tmknod, rmknod, &mk, .dfid = 1, .name = STR("n"), .mode = S_IFREG),
                     -EROFS);
    assert_int_equal(
        rpc(c, tsymlink, rsymlink, &sy, .dfid = 1, .name = STR("n"), .target = STR("x")), -EROFS);
    assert_int_equal(rpc(c, tlink, rlink, &li, .dfid = 1, .fid = 11, .name = STR("n")), -EROFS);
    /* nor linked or moved into the writable export, where it could be written */
    assert_int_equal(rpc(c, tlink, rlink, &li, .dfid = 0, .fid = 11, .name = STR("n")), -EXDEV);
    assert_int_equal(rpc(c, trename, rrename, &rn, .fid = 11, .dfid = 1, .name = STR("n")), -EROFS);
    assert_int_equal(rpc(c, trename, rrename, &rn, .fid = 11, .dfid = 0, .name = STR("n")), -EROFS);
    for (uint32_t from = 0; from < 2; from++)
        for (uint32_t to = 0; to < 2; to++) {
            if (from == 0 && to == 0)
                continue;
            assert_int_equal(rpc(c, trenameat, rrenameat, &ra, .odfid = from, .oname = STR("f"),
                                 .ndfid = to, .nname = STR("n")),
                             -EROFS);
            assert_int_equal(rpc(c, trenameat2, rrenameat2, &ra2, .odfid = from, .oname = STR("f"),
                                 .ndfid = to, .nname = STR("n"), .flags = 2),
                             -EROFS);
        }
    assert_int_equal(rpc(c, tunlinkat, runlinkat, &ul, .dfid = 1, .name = STR("f")), -EROFS);
    assert_int_equal(rpc(c, tremove, rremove, &rm, .fid = 13), -EROFS);
    for (uint32_t bit = 1; bit <= P9_SETATTR_MTIME_SET; bit <<= 1)
        assert_int_equal(rpc(c, tsetattr, rsetattr, &sa, .fid = 11, .valid = bit), -EROFS);
    assert_int_equal(
        rpc(c, txattrcreate, rxattrcreate, &xc, .fid = 12, .name = STR("user.x"), .size = 0),
        -EROFS);
    char path[256], text[8] = {0};
    client_path(c, "f", path);
    int fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, 8), 4);
    close(fd);
    assert_string_equal(text, "data");
    client_path(c, "n", path);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(client_stop(c), 0);
}

/* The server's own /proc must not be reachable when / is exported. */
static void kernel_file_systems_are_walls(void **state)
{
    (void)state;
    struct client *c = &g_client;
    client_start(c, P9_VERSION_RINGBOX, true);
    char path[256], cmd[600];
    client_path(c, "p", path);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(cmd, sizeof cmd, "mount -t proc proc %s 2>/dev/null", path);
    if (system(cmd) != 0) {
        assert_int_equal(client_stop(c), 0);
        skip(); /* not allowed to mount here */
    }
    struct p9_rwalkattr w;
    struct p9_ropenat o;
    assert_int_equal(rpc(c, twalkattr, rwalkattr, &w, .fid = 0, .newfid = 3, .names = ONE("p")), 0);
    assert_int_equal(w.error, 0);
    int r = rpc(c, twalkattr, rwalkattr, &w, .fid = 3, .newfid = 4, .names = ONE("self"));
    int r2 = rpc(c, topenat, ropenat, &o, .fid = 3, .newfid = 4, .flags = O_RDONLY);
    snprintf(cmd, sizeof cmd, "umount -l %s", path);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(r, 0);
    assert_int_equal(w.error, EACCES);
    assert_int_equal(r2, -EACCES);
    assert_int_equal(client_stop(c), 0);
}

static int end_after(const void *msg, size_t n, const char *version)
{
    struct client *c = &g_client;
    client_start(c, version, true);
    assert_int_equal(send(c->sock, msg, n, MSG_NOSIGNAL), (ssize_t)n);
    shutdown(c->sock, SHUT_WR);
    int r = client_wait(c);
    (void)client_stop(c);
    return r;
}

static void malformed_ends_the_connection(void **state)
{
    (void)state;
    enum { VIOLATION = 3 };
    static const uint8_t zero[4] = {0};
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0x7f, 116, 0, 0};
    static const uint8_t early[] = {11, 0, 0, 0, 120, 0, 0, 1, 0, 0, 0};
    static const uint8_t trailing[] = {12, 0, 0, 0, 120, 0, 0, 1, 0, 0, 0, 0};
    static const uint8_t shorter[] = {9, 0, 0, 0, 120, 0, 0, 1, 0};
    static const uint8_t names[] = {17, 0, 0, 0, 110, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 17, 0};
    static const uint8_t write_lie[] = {24, 0, 0, 0, 118, 0, 0, 0, 0, 0, 0, 0,
                                        0,  0, 0, 0, 0,   0, 0, 9, 0, 0, 0, 'x'};
    static const uint8_t nul[] = {20, 0, 0, 0, 110, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 0, 0};
    assert_int_equal(end_after(zero, sizeof zero, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(huge, sizeof huge, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(early, sizeof early, NULL), VIOLATION);
    assert_int_equal(end_after(trailing, sizeof trailing, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(shorter, sizeof shorter, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(names, sizeof names, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(write_lie, sizeof write_lie, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(nul, sizeof nul, P9_VERSION_PLAIN), VIOLATION);
    assert_int_equal(end_after(early, sizeof early - 3, P9_VERSION_PLAIN), 0); /* cut off: EOF */
}

/* Random valid-looking requests at a real server: it must answer or close, never crash. */
static void random_requests(void **state)
{
    (void)state;
    static uint8_t msg[4096];
    uint64_t seed = 7;
    for (int round = 0; round < 40; round++) {
        struct client *c = &g_client;
        client_start(c, round & 1 ? P9_VERSION_RINGBOX : P9_VERSION_PLAIN, true);
        put_file(c, "f", "data");
        for (int i = 0; i < 300; i++) {
            size_t n = 7;
            for (size_t k = 0; k < 60; k++) {
                seed = seed * 6364136223846793005ull + 1442695040888963407ull;
                msg[7 + k] = (uint8_t)(seed >> 60); /* small values: plausible fids and counts */
            }
            n += (seed >> 20) % 60;
            msg[0] = (uint8_t)n;
            msg[4] = (uint8_t)(seed >> 33);
            if (client_exchange(c, msg, n) < 0)
                break;
        }
        close(c->sock);
        int r = client_wait(c);
        assert_true(r == 0 || r == 3);
        c->sock = -1;
        (void)client_stop(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(symlinks_do_not_lead_out),
        cmocka_unit_test(dotdot_stays),
        cmocka_unit_test(replaced_under_the_server),
        cmocka_unit_test(special_files_stay_shut),
        cmocka_unit_test(read_only_is_read_only),
        cmocka_unit_test(kernel_file_systems_are_walls),
        cmocka_unit_test(malformed_ends_the_connection),
        cmocka_unit_test(random_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
