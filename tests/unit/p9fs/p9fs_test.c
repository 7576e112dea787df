/* SPDX-License-Identifier: Apache-2.0
 * p9fs_test.c - the client against an honest server: donating, not donating, and plain 9P2000.L;
 * without a scheduler, and with many fibers on a small poller. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fixture.h"

static const struct p9fs_config lone = {.aname = "", .exclusive = true, .read_only = true};

enum kind { DONATE, RINGBOX, PLAIN, KINDS };
static struct relay g_relay;

static struct superblock *mount_kind(enum kind k, bool exclusive, bool read_only)
{
    client_start(&g_server, NULL, k == DONATE);
    relay_start(&g_relay, g_server.sock, k == PLAIN ? relay_plain : NULL, NULL, 1, 0);
    struct superblock *sb =
        p9fs_new(g_relay.sock, &(struct p9fs_config){.aname = read_only ? "ro" : "",
                                                     .source = "test",
                                                     .exclusive = exclusive,
                                                     .read_only = read_only});
    assert_false(IS_ERR(sb));
    return sb;
}

static void unmount(struct superblock *sb)
{
    superblock_put(sb);
    relay_stop(&g_relay);
    assert_int_equal(client_stop(&g_server), 0);
}

static uint64_t messages(struct superblock *sb)
{
    struct p9fs *fs = sb->private_data;
    return p9_conn_messages(fs->conn);
}

static void read_and_stat(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++) {
        struct superblock *sb = mount_kind(k, true, false);
        host_file("f", "hello, world");
        assert_int_equal(PTR_ERR(find(sb->root, "none")), -ENOENT);
        struct inode *i = find(sb->root, "f");
        assert_false(IS_ERR(i));
        struct attr a;
        assert_int_equal(inode_getattr(i, &a), 0);
        assert_int_equal(a.size, 12);
        assert_int_equal(a.dev, sb->dev);
        char buf[64] = {0};
        struct file *f = open_inode(i, O_RDONLY);
        assert_false(IS_ERR(f));
        assert_int_equal(file_get_bytes(f, buf, sizeof buf, 7), 5);
        assert_string_equal(buf, "world");
        assert_int_equal(file_get_bytes(f, buf, sizeof buf, 12), 0);
        file_put(f);
        struct statfs s;
        assert_int_equal(sb->ops->statfs(sb, &s), 0);
        assert_true(s.f_bsize > 0);
        inode_put(i);
        unmount(sb);
    }
}

/* Open, read and close of a file seen before: no message. The inode is shared by hard links. */
static void warm_is_silent(void **state)
{
    (void)state;
    struct superblock *sb = mount_kind(DONATE, true, true);
    char from[256], to[256], buf[16];
    host_file("f", "data");
    client_path(&g_server, "f", from);
    client_path(&g_server, "g", to);
    assert_int_equal(link(from, to), 0);
    struct inode *i = find(sb->root, "f"), *j = find(sb->root, "g");
    assert_ptr_equal(i, j);
    inode_put(j);
    struct file *f = open_inode(i, O_RDONLY);
    file_put(f);
    uint64_t before = messages(sb);
    for (int n = 0; n < 100; n++) {
        struct attr a;
        f = open_inode(i, O_RDONLY);
        assert_int_equal(file_get_bytes(f, buf, 16, 0), 4);
        assert_int_equal(inode_getattr(i, &a), 0);
        file_put(f);
    }
    assert_int_equal(messages(sb), before);
    assert_int_equal(PTR_ERR(open_inode(i, O_RDWR)), -EROFS);
    struct mappable *m = i->ops->mappable(i);
    assert_false(IS_ERR(m));
    int fd = m->ops->host_fd(m, false);
    assert_int_equal(pread(fd, buf, 16, 0), 4);
    assert_int_equal(m->ops->host_fd(m, true), -1);
    assert_int_equal(m->ops->size(m), 4);
    inode_put(i);
    unmount(sb);
}

static void write_and_append(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++)
        for (int exclusive = 0; exclusive < 2; exclusive++) {
            struct superblock *sb = mount_kind(k, exclusive, false);
            char buf[64] = {0};
            struct attr a;
            fmutex_lock(&sb->root->lock);
            struct inode *i = sb->root->ops->create(sb->root, "new", 3, S_IFREG | 0640, g_cred);
            fmutex_unlock(&sb->root->lock);
            assert_false(IS_ERR(i));
            struct file *f = open_inode(i, O_RDWR);
            assert_false(IS_ERR(f));
            assert_int_equal(file_put_bytes(f, "abcdef", 6, 2), 6);
            assert_int_equal(inode_getattr(i, &a), 0);
            assert_int_equal(a.size, 8);
            assert_int_equal(a.mode & 07777, 0640);
            struct file *g = open_inode(i, O_WRONLY | O_APPEND);
            assert_false(IS_ERR(g));
            assert_int_equal(file_put_bytes(g, "XY", 2, 0), 2);
            assert_int_equal(file_get_bytes(f, buf, sizeof buf, 0), 10);
            assert_memory_equal(buf, "\0\0abcdefXY", 10);
            assert_int_equal(f->ops->fsync(f, true), 0);
            struct setattr s = {.valid = ATTR_SIZE | ATTR_MODE, .size = 3, .mode = 0600};
            assert_int_equal(inode_setattr(i, &s, g_cred), 0);
            assert_int_equal(inode_getattr(i, &a), 0);
            assert_int_equal(a.size, 3);
            assert_int_equal(a.mode & 07777, 0600);
            file_put(f);
            file_put(g);
            inode_put(i);
            unmount(sb);
        }
}

static void names(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++) {
        struct superblock *sb = mount_kind(k, true, false);
        struct inode *root = sb->root;
        const struct inode_ops *ops = root->ops;
        char buf[64] = {0};
        struct attr a;
        fmutex_lock(&root->lock);
        struct inode *d = ops->mkdir(root, "d", 1, S_IFDIR | 0755, g_cred);
        struct inode *l = ops->symlink(root, "l", 1, "target/of/link", g_cred);
        struct inode *p = ops->mknod(root, "p", 1, S_IFIFO | 0644, 0, g_cred);
        struct inode *f = ops->create(root, "f", 1, S_IFREG | 0644, g_cred);
        assert_false(IS_ERR(d) || IS_ERR(l) || IS_ERR(p) || IS_ERR(f));
        assert_int_equal(l->ops->readlink(l, buf, sizeof buf), 14);
        assert_string_equal(buf, "target/of/link");
        assert_true(S_ISFIFO(inode_type(p)));
        assert_int_equal(ops->link(root, "h", 1, f), 0);
        assert_int_equal(inode_getattr(f, &a), 0);
        assert_int_equal(a.nlink, 2);
        fmutex_lock(&d->lock);
        assert_int_equal(ops->rename(root, "f", 1, f, d, "g", 1, NULL, 0), 0);
        fmutex_unlock(&d->lock);
        struct inode *g = d->ops->lookup(d, "g", 1);
        assert_ptr_equal(g, f);
        inode_put(g);
        assert_int_equal(ops->rmdir(root, "d", 1, d), -ENOTEMPTY);
        assert_int_equal(ops->unlink(root, "h", 1, f), 0);
        assert_int_equal(d->ops->unlink(d, "g", 1, f), 0);
        assert_int_equal(inode_getattr(f, &a), 0); /* unlinked: lives by its fid */
        assert_int_equal(a.nlink, 0);
        assert_int_equal(ops->rmdir(root, "d", 1, d), 0);
        assert_int_equal(PTR_ERR(ops->lookup(root, "d", 1)), -ENOENT);
        fmutex_unlock(&root->lock);
        inode_put(d);
        inode_put(l);
        inode_put(p);
        inode_put(f);
        unmount(sb);
    }
}

static void listing(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++) {
        struct superblock *sb = mount_kind(k, true, false);
        for (int n = 0; n < 3000; n++) {
            char name[32];
            snprintf(name, sizeof name, "entry-%d", n);
            host_file(name, "");
        }
        struct file *f = open_inode(sb->root, O_RDONLY | O_DIRECTORY);
        f->path.dentry = NULL;
        struct lister l = {.ctx = {.emit = lister_emit, .pos = 2}, .limit = ~0u};
        f->pos = 2; /* behind "." and "..", which need a dentry */
        assert_int_equal(f->ops->readdir(f, &l.ctx), 0);
        assert_int_equal(l.count, 3000);
        file_put(f);
        unmount(sb);
    }
}

/* After a listing of a read-only mount, lookups of its names and of others are silent. */
static void listing_answers_lookups(void **state)
{
    (void)state;
    struct superblock *sb = mount_kind(DONATE, true, true);
    char path[256], buf[32] = {0};
    host_file("f", "data");
    client_path(&g_server, "d", path);
    assert_int_equal(mkdir(path, 0755), 0);
    host_file("d/inner", "inside");
    client_path(&g_server, "l", path);
    assert_int_equal(symlink("f", path), 0);
    struct file *f = open_inode(sb->root, O_RDONLY);
    struct lister l = {.ctx = {.emit = lister_emit, .pos = 2}, .limit = ~0u};
    f->pos = 2;
    assert_int_equal(f->ops->readdir(f, &l.ctx), 0);
    assert_int_equal(l.count, 3);
    file_put(f);
    uint64_t before = messages(sb);
    struct inode *i = find(sb->root, "f"), *d = find(sb->root, "d"), *s = find(sb->root, "l");
    struct attr a;
    assert_int_equal(PTR_ERR(find(sb->root, "none")), -ENOENT);
    assert_int_equal(inode_getattr(i, &a), 0);
    assert_int_equal(a.size, 4);
    assert_true(messages(sb) <= before + 1); /* the clunk of the directory's fid may go along */
    before = messages(sb);
    f = open_inode(i, O_RDONLY); /* by the directory's fid and the name: one message */
    assert_true(messages(sb) <= before + 2);
    assert_int_equal(file_get_bytes(f, buf, sizeof buf, 0), 4);
    file_put(f);
    assert_int_equal(s->ops->readlink(s, buf, sizeof buf), 1);
    struct inode *in = find(d, "inner");
    assert_int_equal(inode_getattr(in, &a), 0);
    assert_int_equal(a.size, 6);
    inode_put(i);
    inode_put(d);
    inode_put(s);
    inode_put(in);
    unmount(sb);
}

static void xattrs(void **state)
{
    (void)state;
    struct superblock *sb = mount_kind(RINGBOX, true, false);
    char buf[64] = {0};
    host_file("f", "");
    struct inode *i = find(sb->root, "f");
    int r = i->ops->setxattr(i, "user.k", "value", 5, 0);
    if (r != -EOPNOTSUPP) {
        assert_int_equal(r, 0);
        assert_int_equal(i->ops->getxattr(i, "user.k", buf, sizeof buf), 5);
        assert_string_equal(buf, "value");
        assert_int_equal(i->ops->getxattr(i, "user.k", buf, 3), -ERANGE);
        assert_int_equal(i->ops->listxattr(i, buf, sizeof buf), 7);
        assert_int_equal(i->ops->removexattr(i, "user.k"), 0);
        assert_int_equal(i->ops->getxattr(i, "user.k", buf, sizeof buf), -ENODATA);
    }
    assert_int_equal(i->ops->getxattr(i, "security.capability", buf, 64), -ENODATA);
    assert_int_equal(i->ops->setxattr(i, "trusted.x", "", 0, 0), -EPERM);
    inode_put(i);
    unmount(sb);
}

/* More open files than the cache of descriptors may hold is for the limits; here: evict and reopen.
 */
static void many_inodes(void **state)
{
    (void)state;
    struct superblock *sb = mount_kind(DONATE, true, true);
    enum { FILES = P9_CACHED_FDS + 200 };
    static struct inode *inodes[FILES];
    char buf[8];
    host_files(FILES, "x");
    for (unsigned n = 0; n < FILES; n++) {
        char name[32];
        snprintf(name, sizeof name, "f%u", n);
        inodes[n] = find(sb->root, name);
        struct file *f = open_inode(inodes[n], O_RDONLY);
        assert_false(IS_ERR(f));
        file_put(f);
    }
    assert_true(p9_fds_count() <= P9_CACHED_FDS + 1);
    for (unsigned n = 0; n < FILES; n++) {
        struct file *f = open_inode(inodes[n], O_RDONLY);
        assert_int_equal(file_get_bytes(f, buf, 8, 0), 1);
        file_put(f);
        inode_put(inodes[n]);
    }
    unmount(sb);
}

/* At the limit: -ENFILE; a closed file makes room again. */
static void descriptor_limit(void **state)
{
    (void)state;
    struct superblock *sb = mount_kind(DONATE, true, true);
    enum { LIMIT = 20 };
    struct file *files[LIMIT];
    struct inode *inodes[LIMIT + 1];
    p9fs_limit_fds(LIMIT);
    host_files(LIMIT + 1, "x");
    for (unsigned n = 0; n <= LIMIT; n++) {
        char name[32];
        snprintf(name, sizeof name, "f%u", n);
        inodes[n] = find(sb->root, name);
        if (n < LIMIT) {
            files[n] = open_inode(inodes[n], O_RDONLY);
            assert_false(IS_ERR(files[n]));
        }
    }
    assert_int_equal(PTR_ERR(open_inode(inodes[LIMIT], O_RDONLY)), -ENFILE);
    file_put(files[0]);
    files[0] = open_inode(inodes[LIMIT], O_RDONLY);
    assert_false(IS_ERR(files[0]));
    for (unsigned n = 0; n <= LIMIT; n++) {
        if (n < LIMIT)
            file_put(files[n]);
        inode_put(inodes[n]);
    }
    p9fs_limit_fds(P9_FDS_MAX);
    unmount(sb);
}

/* --- with a poller --- */

static struct io *g_io;
static struct fiber_sched *g_sched;
static unsigned g_running;
static _Atomic(uint32_t) g_word;

static void loop(void *arg)
{
    (void)arg;
    while (g_running) {
        unsigned n = io_round(g_io) + fiber_run_ready();
        fiber_loop_check();
        (void)timer_run(timer_base_self(), clock_now_ns(CLOCK_MONOTONIC));
        if (n == 0 && g_running && !fiber_any_ready())
            io_sleep(g_io, &g_word, g_word, 1000000);
    }
}

static void kick(void *arg)
{
    (void)arg;
    g_word++;
}

static struct superblock *g_sb;

static void worker(void *arg)
{
    unsigned n = (unsigned)(uintptr_t)arg;
    char name[32], buf[32] = {0};
    snprintf(name, sizeof name, "w%u", n % 50);
    struct inode *i = p9_lookup(g_sb->root, name, strlen(name));
    assert_false(IS_ERR(i));
    struct file *f = open_inode(i, O_RDONLY);
    assert_int_equal(IS_ERR(f) ? PTR_ERR(f) : 0, 0);
    assert_int_equal(file_get_bytes(f, buf, sizeof buf, 0), (ssize_t)strlen(name));
    assert_string_equal(buf, name);
    file_put(f);
    inode_put(i);
    g_running--;
}

static void many_fibers_main(void *arg)
{
    enum kind k = (enum kind)(uintptr_t)arg;
    g_sb = mount_kind(k, true, true);
    for (unsigned n = 0; n < 50; n++) {
        char name[32];
        snprintf(name, sizeof name, "w%u", n);
        host_file(name, name);
    }
    for (unsigned n = 0; n < 600; n++) {
        g_running++;
        assert_int_equal(fiber_spawn(g_sched, worker, (void *)(uintptr_t)n), 0);
    }
    while (g_running > 1)
        fiber_yield();
    unmount(g_sb);
    g_running--;
}

static void silence_main(void *arg)
{
    int sv[2];
    (void)arg;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    p9_deadline_ns = 50000000;
    assert_int_equal(PTR_ERR(p9fs_new(sv[0], &lone)), -EIO);
    p9_deadline_ns = P9_DEADLINE_NS;
    close(sv[1]);
    g_running--;
}

static void on_poller(void (*fn)(void *arg), void *arg)
{
    assert_int_equal(io_create(IO_EPOLL, &g_io), 0);
    g_sched = fiber_sched_new(loop, kick, NULL);
    struct timer_base *tb = timer_base_new(kick, NULL);
    assert_non_null(tb);
    timer_base_bind(tb);
    g_running = 1;
    assert_int_equal(fiber_spawn(g_sched, fn, arg), 0);
    fiber_sched_run(g_sched);
    fiber_sched_free(g_sched);
    timer_base_bind(NULL);
    timer_base_free(tb);
    io_destroy(g_io);
}

static void silent_server(void **state)
{
    (void)state;
    on_poller(silence_main, NULL);
}

static void many_fibers(void **state)
{
    (void)state;
    for (enum kind k = 0; k < KINDS; k++)
        on_poller(many_fibers_main, (void *)(uintptr_t)k);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    p9fs_limit_fds(P9_FDS_MAX);
    g_cred = cred_new(getuid(), getgid(), NULL, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_and_stat),    cmocka_unit_test(warm_is_silent),
        cmocka_unit_test(write_and_append), cmocka_unit_test(names),
        cmocka_unit_test(listing),          cmocka_unit_test(listing_answers_lookups),
        cmocka_unit_test(xattrs),           cmocka_unit_test(many_inodes),
        cmocka_unit_test(descriptor_limit), cmocka_unit_test(many_fibers),
        cmocka_unit_test(silent_server),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    cred_put(g_cred);
    return r;
}
