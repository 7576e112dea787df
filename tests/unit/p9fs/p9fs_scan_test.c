/* SPDX-License-Identifier: Apache-2.0
 * p9fs_scan_test.c - scanned directories, listings and descriptors that come before they are asked
 * for: how many messages, the limits, and servers that lie about them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "fixture.h"

static struct relay g_relay;

static struct superblock *mount_start(relay_fn *reply, uint64_t seed, void (*populate)(void))
{
    client_start(&g_server, NULL, true);
    populate();
    relay_start(&g_relay, g_server.sock, NULL, reply, seed, 0);
    struct superblock *sb = p9fs_new(
        g_relay.sock, &(struct p9fs_config){
                          .aname = "ro", .source = "test", .exclusive = true, .read_only = true});
    assert_false(IS_ERR(sb));
    return sb;
}

static void unmount(struct superblock *sb)
{
    superblock_put(sb);
    relay_stop(&g_relay);
    assert_int_equal(p9_fds_count(), 0);
    (void)client_stop(&g_server);
}

static struct p9fs *fs_of(struct superblock *sb)
{
    return sb->private_data;
}

static uint64_t messages(struct superblock *sb)
{
    return p9_conn_messages(fs_of(sb)->conn);
}

static void dir_make(const char *name)
{
    char path[256];
    client_path(&g_server, name, path);
    assert_int_equal(mkdir(path, 0755), 0);
}

enum { DIRS = 20, FILES = 10 };

/* d0 ... each with s/, and in both f0 ... */
static void tree(void)
{
    for (int d = 0; d < DIRS; d++) {
        char name[64];
        snprintf(name, sizeof name, "d%d", d);
        dir_make(name);
        snprintf(name, sizeof name, "d%d/s", d);
        dir_make(name);
        for (int f = 0; f < FILES; f++) {
            snprintf(name, sizeof name, "d%d/f%d", d, f);
            host_file(name, "x");
            snprintf(name, sizeof name, "d%d/s/f%d", d, f);
            host_file(name, "yy");
        }
    }
}

static void flat(void)
{
    host_files(100, "text");
}

static void files_found(struct inode *dir, uint64_t size)
{
    for (int f = 0; f < FILES; f++) {
        char name[16];
        struct attr a;
        snprintf(name, sizeof name, "f%d", f);
        struct inode *i = find(dir, name);
        assert_false(IS_ERR(i));
        assert_int_equal(inode_getattr(i, &a), 0);
        assert_int_equal(a.size, size);
        inode_put(i);
    }
    assert_int_equal(PTR_ERR(find(dir, "none")), -ENOENT);
}

/* 440 names looked up in a tree nobody listed: a few messages. */
static void walking_a_tree(void **state)
{
    (void)state;
    struct superblock *sb = mount_start(NULL, 1, tree);
    uint64_t before = messages(sb);
    for (int d = 0; d < DIRS; d++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", d);
        struct inode *dir = find(sb->root, name), *s = find(dir, "s");
        files_found(dir, 1);
        files_found(s, 2);
        inode_put(s);
        inode_put(dir);
    }
    assert_true(messages(sb) - before < 70);
    assert_true(fs_of(sb)->ahead_given > 0);
    unmount(sb);
}

/* The memory of listings is bounded: at the limit both stay, one byte below it the older goes. */
static void listings_limit(void **state)
{
    (void)state;
    struct superblock *sb = mount_start(NULL, 1, tree);
    struct p9fs *fs = fs_of(sb);
    struct inode *dir[3] = {NULL};
    struct p9_listing *l;
    bool big;
    for (int d = 0; d < 3; d++) {
        char name[16];
        snprintf(name, sizeof name, "d%d", d);
        dir[d] = find(sb->root, name);
    }
    p9_listings_free(fs);
    for (int d = 0; d < 2; d++) {
        assert_int_equal(p9_scan(p9_of(dir[d]), false, &l), 0);
        p9_listing_put(l);
    }
    p9_listings_max = fs->listing_bytes;
    assert_int_equal(p9_scan(p9_of(dir[1]), false, &l), 0); /* anew: takes the place of its own */
    p9_listing_put(l);
    l = p9_listing_cached(p9_of(dir[0]), &big);
    assert_non_null(l);
    p9_listing_put(l);
    p9_listings_max--;
    assert_int_equal(p9_scan(p9_of(dir[1]), false, &l), 0);
    p9_listing_put(l);
    assert_true(fs->listing_bytes <= p9_listings_max);
    p9_listings_max = P9_LISTINGS_BYTES;
    files_found(dir[0], 1); /* what went is fetched again */
    for (int d = 0; d < 3; d++)
        inode_put(dir[d]);
    unmount(sb);
}

static void open_read(struct inode *i, const char *text)
{
    char buf[64] = {0};
    struct file *f = open_inode(i, O_RDONLY);
    assert_false(IS_ERR(f));
    assert_int_equal(file_get_bytes(f, buf, sizeof buf, 0), strlen(text));
    assert_string_equal(buf, text);
    file_put(f);
}

/* Until the server watches, half a second after the first look, and has said so: then everything is asked
 * about anew, which would be counted by a test that takes that long. */
static void watched(struct superblock *sb)
{
    uint64_t before = fs_of(sb)->changes;
    assert_int_equal(PTR_ERR(find(sb->root, "none")), -ENOENT); /* the first look */
    for (int n = 0; n < 200 && fs_of(sb)->changes == before; n++) {
        struct statfs st;
        usleep(20000);
        assert_int_equal(sb->ops->statfs(sb, &st), 0); /* a message, behind what was told */
    }
    assert_true(fs_of(sb)->changes != before);
}

/* 100 files opened one after the other: far fewer exchanges, and never more waiting than may. */
static void opening_in_sequence(void **state)
{
    (void)state;
    struct superblock *sb = mount_start(NULL, 1, flat);
    struct inode *files[100];
    unsigned silent = 0;
    watched(sb);
    for (int n = 0; n < 100; n++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", n);
        files[n] = find(sb->root, name);
        assert_false(IS_ERR(files[n]));
    }
    for (int pass = 0; pass < 2; pass++)
        for (int n = 0; n < 100; n++) {
            uint64_t before = messages(sb);
            open_read(files[n], "text");
            silent += messages(sb) == before;
            assert_true(fs_of(sb)->ahead_fd_count <= P9_AHEAD_FDS);
        }
    assert_true(silent > 180);
    for (int n = 0; n < 100; n++)
        inode_put(files[n]);
    unmount(sb);
}

/* Descriptors nobody came for are not more than P9_AHEAD_FDS, and go when there is no room. */
static void ahead_limit(void **state)
{
    (void)state;
    struct superblock *sb = mount_start(NULL, 1, flat);
    struct p9fs *fs = fs_of(sb);
    for (int n = 0; n < 100; n += 3) {
        char name[16];
        snprintf(name, sizeof name, "f%d", n);
        struct inode *i = find(sb->root, name);
        fs->open_ahead = P9_AHEAD_BATCH; /* whatever experience says */
        fs->fds_given = 1000;
        open_read(i, "text");
        inode_put(i);
        assert_true(fs->ahead_fd_count <= P9_AHEAD_FDS);
        assert_true(p9_fds_count() <= P9_AHEAD_FDS + 100);
    }
    assert_true(fs->ahead_fd_count > 0);
    assert_true(p9_ahead_drop(fs));
    assert_int_equal(fs->ahead_fd_count, 0);
    assert_false(p9_ahead_drop(fs));
    unmount(sb);
}

/* A file replaced outside since it was listed is an error of its own, not the end of the mount. */
static void replaced_outside(void **state)
{
    (void)state;
    struct superblock *sb = mount_start(NULL, 1, flat);
    char from[256], to[256];
    struct inode *i[3];
    i[0] = find(sb->root, "f0");
    i[1] = find(sb->root, "f1");
    i[2] = find(sb->root, "f2");
    host_file("new", "other");
    client_path(&g_server, "new", from);
    client_path(&g_server, "f2", to);
    assert_int_equal(rename(from, to), 0);
    assert_int_equal(PTR_ERR(open_inode(i[2], O_RDONLY)), -ESTALE);
    open_read(i[0], "text");
    open_read(i[1], "text");
    for (int k = 0; k < 3; k++)
        inode_put(i[k]);
    unmount(sb);
}

/* --- lies --- */

static int64_t scan_mutate(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap;
    uint8_t type = p9_type_of(msg);
    if (type == P9_rscan || (type == P9_ropenat && (seed >> 33) % 4 == 0))
        msg[7 + (seed >> 36) % (len - 7)] ^= (uint8_t)(1u << (seed >> 60 & 7));
    return (int64_t)len;
}

static int64_t scan_other(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rscan s;
    static uint8_t data[P9_MSIZE_DEFAULT];
    if (p9_type_of(msg) != P9_rscan || p9_decode_rscan(msg, len, &s) < 0 ||
        s.data.len > sizeof data)
        return (int64_t)len;
    memcpy(data, s.data.base, s.data.len);
    s.data.base = data;
    switch (seed >> 40 & 3) {
    case 0: /* more of its own than there is */
        s.own = s.data.len + 1;
        break;
    case 1: /* not complete, and yet others behind */
        s.next = 5;
        break;
    case 2: /* a listing of something else */
        if (s.own + P9_SCAN_BLOCK_BYTES <= s.data.len)
            data[s.own + 4 * (seed >> 50 & 1)] += 3;
        break;
    default: /* never ends */
        s.data.len = s.own;
        s.next = 7;
        break;
    }
    return p9_encode_rscan(msg, cap, &s);
}

static void lies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        struct superblock *sb = mount_start(seed & 1 ? scan_mutate : scan_other, seed, tree);
        for (int n = 0; n < DIRS * FILES; n++) {
            char dir[16], file[16];
            snprintf(dir, sizeof dir, "d%d", n / FILES);
            snprintf(file, sizeof file, "f%d", n % FILES);
            struct inode *d = find(sb->root, dir);
            struct inode *i = IS_ERR(d) || !d->ops->lookup ? ERR_PTR(-EIO) : find(d, file);
            struct file *f =
                IS_ERR(i) || i->ops != &p9_file_ops ? ERR_PTR(-EIO) : open_inode(i, O_RDONLY);
            if (!IS_ERR(f))
                file_put(f);
            inode_put(i);
            inode_put(d);
        }
        unmount(sb);
    }
}

int main(void)
{
    g_cred = cred_new(getuid(), getgid(), NULL, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(walking_a_tree),      cmocka_unit_test(listings_limit),
        cmocka_unit_test(opening_in_sequence), cmocka_unit_test(ahead_limit),
        cmocka_unit_test(replaced_outside),    cmocka_unit_test(lies),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    cred_put(g_cred);
    return r;
}
