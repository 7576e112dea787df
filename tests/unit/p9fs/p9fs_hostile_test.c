/* SPDX-License-Identifier: Apache-2.0
 * p9fs_hostile_test.c - servers that lie: each must end as an error, never as a crash or a wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <sys/wait.h>
#undef WAIT_ANY /* kernel/task.h has its own */

#include <vfs/locks.h>

#include "fixture.h"

static const struct p9fs_config lone = {.aname = "", .exclusive = true, .read_only = true};

static struct relay g_relay;

/* A session that touches every kind of message; results do not matter, returning does. */
static void exercise(struct superblock *sb)
{
    char buf[300];
    struct statfs s;
    struct attr a;
    struct inode *root = sb->root;
    struct inode *i = find(root, "f"), *l = find(root, "l"), *d = find(root, "d");
    (void)sb->ops->statfs(sb, &s);
    if (!IS_ERR(l) && l->ops->readlink)
        (void)l->ops->readlink(l, buf, sizeof buf);
    if (!IS_ERR(d) && d->ops == &p9_dir_ops) {
        struct file *f = open_inode(d, O_RDONLY);
        if (!IS_ERR(f)) {
            struct lister x = {.ctx = {.emit = lister_emit, .pos = 2}, .limit = ~0u};
            (void)f->ops->readdir(f, &x.ctx);
        }
        file_put(f);
        struct inode *n = d->ops->create(d, "n", 1, S_IFREG | 0600, g_cred);
        if (!IS_ERR(n))
            (void)d->ops->unlink(d, "n", 1, n);
        inode_put(n);
        n = d->ops->mkdir(d, "m", 1, S_IFDIR | 0700, g_cred);
        inode_put(n);
    }
    if (!IS_ERR(i) && i->ops == &p9_file_ops) {
        struct file *f = open_inode(i, O_RDWR);
        if (!IS_ERR(f)) {
            (void)file_get_bytes(f, buf, sizeof buf, 0);
            (void)file_put_bytes(f, "abc", 3, 1);
            (void)f->ops->fsync(f, false);
        }
        file_put(f);
        (void)i->ops->setxattr(i, "user.a", "b", 1, 0);
        (void)i->ops->getxattr(i, "user.a", buf, sizeof buf);
        (void)inode_getattr(i, &a);
        struct setattr set = {.valid = ATTR_MODE, .mode = 0600};
        (void)inode_setattr(i, &set, g_cred);
        struct lock_range lock = {.type = F_WRLCK, .end = INT64_MAX}, seen = lock;
        (void)i->ops->listxattr(i, buf, sizeof buf);
        fmutex_lock(&i->lock);
        (void)i->ops->lock(i, &lock, false);
        (void)i->ops->lock_test(i, &seen);
        lock.type = F_UNLCK;
        (void)i->ops->lock(i, &lock, true);
        fmutex_unlock(&i->lock);
        if (root->ops == &p9_dir_ops) {
            struct inode *t = root->ops->tmpfile(root, S_IFREG | 0600, g_cred);
            inode_put(t);
            (void)root->ops->rename(root, "f", 1, i, root, "g", 1, NULL, 0);
            (void)root->ops->unlink(root, "g", 1, i);
        }
    }
    inode_put(i);
    inode_put(l);
    inode_put(d);
}

static void populate(void)
{
    char path[256];
    host_file("f", "some content");
    client_path(&g_server, "l", path);
    assert_int_equal(symlink("somewhere", path), 0);
    client_path(&g_server, "d", path);
    assert_int_equal(mkdir(path, 0755), 0);
    for (int n = 0; n < 5; n++) {
        char name[16];
        snprintf(name, sizeof name, "d/e%d", n);
        host_file(name, "");
    }
}

static void session(relay_fn *request, relay_fn *reply, uint64_t seed, bool donate, int drop_fds,
                    bool must_die)
{
    client_start(&g_server, NULL, donate);
    populate();
    relay_start(&g_relay, g_server.sock, request, reply, seed, drop_fds);
    struct superblock *sb = p9fs_new(
        g_relay.sock, &(struct p9fs_config){
                          .aname = "", .source = "test", .uid = UINT32_MAX, .exclusive = seed & 1});
    if (!IS_ERR(sb)) {
        exercise(sb);
        struct p9fs *fs = sb->private_data;
        if (must_die) {
            struct statfs s;
            assert_true(p9_conn_dead(fs->conn));
            assert_int_equal(PTR_ERR(find(sb->root, "f")), -EIO); /* and stays so */
            assert_int_equal(sb->ops->statfs(sb, &s), -EIO);
        }
        superblock_put(sb);
    } else {
        assert_int_equal(PTR_ERR(sb), -EIO);
    }
    relay_stop(&g_relay);
    (void)client_stop(&g_server);
}

/* Flip bytes of some replies, but leave the length alone: else most cases end at the frame. */
static int64_t mutate(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap;
    if ((seed >> 33) % 4 || p9_type_of(msg) == P9_rversion || p9_type_of(msg) == P9_rattach)
        return (int64_t)len;
    msg[4 + (seed >> 40) % (len - 4)] ^= (uint8_t)(1u << (seed >> 60 & 7));
    return (int64_t)len;
}

static int64_t mutate_any(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap;
    if ((seed >> 33) % 8 == 0)
        msg[(seed >> 40) % len] = (uint8_t)(seed >> 56);
    return (int64_t)len;
}

static void random_lies(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        session(NULL, mutate, seed, seed & 2, 0, false);
        session(seed & 1 ? relay_plain : NULL, mutate, seed + 1000, seed & 2, 0, false);
    }
}

/* A changed length can make the client wait for the rest: the relay then ends, as a server would.
 */
static int64_t mutate_then_end(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    static unsigned count;
    return ++count > 6 ? -1 : mutate_any(msg, len, cap, seed);
}

static void dies_in_between(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        session(NULL, mutate_then_end, seed, true, 0, true);
}

static int64_t wrong_tag(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) != P9_rversion)
        msg[5] ^= 1;
    return (int64_t)len;
}

static int64_t huge_tag(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rwalkattr)
        msg[6] = 0xff;
    return (int64_t)len;
}

static int64_t wrong_type(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rwalkattr)
        msg[4] = P9_rread;
    return (int64_t)len;
}

static int64_t twice(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rversion)
        return (int64_t)len;
    memcpy(msg + len, msg, len);
    return (int64_t)len * 2;
}

/* A directory that is called a file in the qid. */
static int64_t kind_lie(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rwalkattr w;
    (void)seed;
    if (p9_type_of(msg) != P9_rwalkattr || p9_decode_rwalkattr(msg, len, &w) < 0)
        return (int64_t)len;
    for (unsigned i = 0; i < w.attrs.count; i++)
        w.attrs.attr[i].qid.type ^= P9_QTDIR;
    return p9_encode_rwalkattr(msg, cap, &w);
}

static int64_t more_walked(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rwalkattr w;
    (void)seed;
    if (p9_type_of(msg) != P9_rwalkattr || p9_decode_rwalkattr(msg, len, &w) < 0 || !w.attrs.count)
        return (int64_t)len;
    w.attrs.attr[1] = w.attrs.attr[0];
    w.attrs.count = 2;
    return p9_encode_rwalkattr(msg, cap, &w);
}

static int64_t slash_name(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rreaddir)
        for (size_t i = 11; i + 1 < len; i++)
            if (msg[i] == 'e' && msg[i + 1] >= '0' && msg[i + 1] <= '9')
                msg[i] = '/';
    return (int64_t)len;
}

static int64_t more_data(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rread r;
    static uint8_t data[400];
    (void)len, (void)seed;
    if (p9_type_of(msg) != P9_rread)
        return (int64_t)len;
    r = (struct p9_rread){.tag = p9_tag_of(msg), .data = {.base = data, .len = sizeof data}};
    return p9_encode_rread(msg, cap, &r);
}

static int64_t more_written(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rwrite)
        msg[8] = 9;
    return (int64_t)len;
}

static int64_t other_inode(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_ropenat o;
    (void)seed;
    if (p9_type_of(msg) != P9_ropenat || p9_decode_ropenat(msg, len, &o) < 0 || !o.with_fd)
        return (int64_t)len;
    o.attr.ino++;
    return p9_encode_ropenat(msg, cap, &o);
}

static int64_t error_zero(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rlerror e = {.tag = p9_tag_of(msg), .ecode = seed & 1 ? 0 : 70000};
    (void)len;
    return p9_type_of(msg) == P9_rstatfs ? p9_encode_rlerror(msg, cap, &e) : (int64_t)len;
}

static int64_t big_msize(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rversion)
        msg[10] = 0x7f;
    return (int64_t)len;
}

static int64_t frame_lie(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    (void)cap, (void)seed;
    if (p9_type_of(msg) == P9_rwalkattr)
        msg[3] = 0x7f;
    return (int64_t)len;
}

static int64_t unknown_version(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rversion v = {
        .tag = p9_tag_of(msg), .msize = 65536, .version = p9_str_from("9P3000")};
    (void)seed;
    return p9_type_of(msg) == P9_rversion ? p9_encode_rversion(msg, cap, &v) : (int64_t)len;
}

/* --- what a server of plain 9P can lie about --- */

static int64_t plain_farther(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rwalk w;
    (void)seed;
    if (p9_type_of(msg) != P9_rwalk || p9_decode_rwalk(msg, len, &w) < 0 || w.qids.count != 1)
        return (int64_t)len;
    w.qids.qid[w.qids.count++] = w.qids.qid[0];
    return p9_encode_rwalk(msg, cap, &w);
}

static int64_t plain_nowhere(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rwalk w = {.tag = p9_tag_of(msg)};
    (void)seed;
    return p9_type_of(msg) == P9_rwalk ? p9_encode_rwalk(msg, cap, &w) : (int64_t)len;
}

static int64_t plain_kind(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rgetattr g;
    if (p9_type_of(msg) != P9_rgetattr || p9_decode_rgetattr(msg, len, &g) < 0)
        return (int64_t)len;
    static const uint32_t modes[] = {0, S_IFREG | S_IFDIR | S_IFLNK, 0xffffffff, 0170000};
    g.mode = modes[(seed >> 33) % 4];
    return p9_encode_rgetattr(msg, cap, &g);
}

static int64_t plain_size(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rgetattr g;
    (void)seed;
    if (p9_type_of(msg) != P9_rgetattr || p9_decode_rgetattr(msg, len, &g) < 0)
        return (int64_t)len;
    g.size = 1ull << 63;
    return p9_encode_rgetattr(msg, cap, &g);
}

static int64_t plain_lock_range(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rgetlock g = {.tag = p9_tag_of(msg), .client_id = p9_str_from("x")};
    (void)len;
    if (p9_type_of(msg) != P9_rgetlock)
        return (int64_t)len;
    unsigned which = (unsigned)(seed >> 33) % 3;
    g.type = which == 0 ? 9 : P9_LOCK_WRLCK;
    g.start = which == 1 ? 1ull << 63 : 10;
    g.length = which == 2 ? (uint64_t)INT64_MAX : 1;
    return p9_encode_rgetlock(msg, cap, &g);
}

static int64_t plain_attribute(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rxattrwalk x = {.tag = p9_tag_of(msg), .size = seed >> 33 & 1 ? UINT64_MAX : 65537};
    return p9_type_of(msg) == P9_rxattrwalk ? p9_encode_rxattrwalk(msg, cap, &x) : (int64_t)len;
}

static int64_t plain_no_target(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    struct p9_rreadlink l = {.tag = p9_tag_of(msg)};
    (void)seed;
    return p9_type_of(msg) == P9_rreadlink ? p9_encode_rreadlink(msg, cap, &l) : (int64_t)len;
}

/* Counts of data beyond the message, in every kind that has one. */
static int64_t plain_count(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    uint8_t type = p9_type_of(msg);
    (void)cap, (void)seed;
    if (type == P9_rread || type == P9_rreaddir)
        msg[10] = 0x40;
    return (int64_t)len;
}

/* No error of these may come of what the server says it cannot do. */
static int64_t plain_cannot(uint8_t *msg, size_t len, size_t cap, uint64_t seed)
{
    static const uint8_t types[] = {P9_runlinkat, P9_rrenameat,  P9_rlock,
                                    P9_rgetlock,  P9_rxattrwalk, P9_rfsync,
                                    P9_rsetattr,  P9_rstatfs,    P9_rremove};
    struct p9_rlerror e = {.tag = p9_tag_of(msg), .ecode = EOPNOTSUPP};
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
        if (p9_type_of(msg) == types[i] && (seed >> (33 + i)) % 2)
            return p9_encode_rlerror(msg, cap, &e);
    return (int64_t)len;
}

static void plain_lies(void **state)
{
    (void)state;
    static relay_fn *const lies[] = {plain_farther,   plain_nowhere,    plain_kind,
                                     plain_size,      plain_lock_range, plain_attribute,
                                     plain_no_target, plain_count};
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++)
        for (uint64_t seed = 0; seed < 4; seed++)
            session(relay_plain, lies[i], seed, false, 0, true);
    for (uint64_t seed = 0; seed < 10; seed++)
        session(relay_plain, plain_cannot, seed, false, 0, false);
}

static void chosen_lies(void **state)
{
    (void)state;
    static relay_fn *const lies[] = {wrong_tag,  huge_tag,    wrong_type, twice,
                                     kind_lie,   more_walked, slash_name, other_inode,
                                     error_zero, big_msize,   frame_lie,  unknown_version};
    for (unsigned i = 0; i < ARRAY_SIZE(lies); i++)
        session(NULL, lies[i], i, true, 0, true);
    session(NULL, more_data, 0, false, 0, true);
    session(NULL, more_written, 0, false, 0, true);
    session(NULL, NULL, 0, true, 1, true); /* announced descriptors that do not come */
}

static void stray_descriptors(void **state)
{
    (void)state;
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    pid_t pid = fork();
    if (pid == 0) {
        uint8_t buf[4096];
        close(sv[0]);
        while (recv(sv[1], buf, sizeof buf, 0) > 0) {
            for (int n = 0; n < 10; n++) {
                union {
                    char b[CMSG_SPACE(sizeof(int) * 32)];
                    struct cmsghdr align;
                } control = {0};
                struct p9_rversion v = {.msize = 65536, .version = p9_str_from(P9_VERSION_RINGBOX)};
                struct iovec iov = {.iov_base = buf, .iov_len = 2}; /* never a whole message */
                struct msghdr m = {.msg_iov = &iov,
                                   .msg_iovlen = 1,
                                   .msg_control = control.b,
                                   .msg_controllen = sizeof control};
                (void)p9_encode_rversion(buf, sizeof buf, &v);
                struct cmsghdr *h = CMSG_FIRSTHDR(&m);
                h->cmsg_level = SOL_SOCKET;
                h->cmsg_type = SCM_RIGHTS;
                h->cmsg_len = CMSG_LEN(sizeof(int) * 32);
                for (int i = 0; i < 32; i++)
                    memcpy(CMSG_DATA(h) + (size_t)i * sizeof(int), &sv[1], sizeof(int));
                (void)sendmsg(sv[1], &m, MSG_NOSIGNAL);
            }
        }
        _exit(0);
    }
    close(sv[1]);
    assert_int_equal(PTR_ERR(p9fs_new(sv[0], &lone)), -EIO);
    waitpid(pid, NULL, 0);
}

/* Nothing comes back: the connection ends after the deadline. */
static void silence(void **state)
{
    (void)state;
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    p9_deadline_ns = 50000000;
    assert_int_equal(PTR_ERR(p9fs_new(sv[0], &lone)), -EIO);
    p9_deadline_ns = P9_DEADLINE_NS;
    close(sv[1]);
}

static void gone_at_once(void **state)
{
    (void)state;
    int sv[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
    close(sv[1]);
    assert_int_equal(PTR_ERR(p9fs_new(sv[0], &lone)), -EIO);
}

int main(void)
{
    g_cred = cred_new(getuid(), getgid(), NULL, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gone_at_once),    cmocka_unit_test(silence),
        cmocka_unit_test(chosen_lies),     cmocka_unit_test(stray_descriptors),
        cmocka_unit_test(dies_in_between), cmocka_unit_test(random_lies),
        cmocka_unit_test(plain_lies),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    cred_put(g_cred);
    return r;
}
