/* SPDX-License-Identifier: Apache-2.0
 * model_test.c - random file operations on tmpfs and on the overlay, compared one by one with the
 * same operations on a directory of the host: results, errno, attributes, contents, listings.
 *
 * Needs root for chroot (".." and absolute links must not leave the host's directory): skipped
 * otherwise. The overlay's lower is a tmpfs filled by a first run of operations. */
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "vfs_fixture.h"

#define FDS 8
#define OPS 50000
#define DATA_MAX 9000

struct pair {
    struct file *f;
    int fd;
};

struct model {
    struct task *t;
    struct pair fds[FDS];
    uint64_t seed;
    bool overlay; /* files open for reading only are not kept: they go on reading the lower */
    unsigned step;
    char what[700];
};

static uint32_t rnd(struct model *m, uint32_t n)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (uint32_t)(m->seed >> 20) % n;
}

static const char *name(struct model *m)
{
    static const char *const names[] = {"a", "b", "c",
                                        "d", "e", "a_longer_name_that_is_not_inline_x"};
    return names[rnd(m, ARRAY_SIZE(names))];
}

static void path(struct model *m, char *out)
{
    char *p = out;
    if (rnd(m, 8) == 0)
        *p++ = '/';
    unsigned n = 1 + rnd(m, 3);
    for (unsigned i = 0; i < n; i++) {
        unsigned k = rnd(m, 24);
        p += sprintf(p, "%s%s", i ? "/" : "", k == 0 ? ".." : k == 1 ? "." : name(m));
    }
    if (rnd(m, 12) == 0)
        p += sprintf(p, "/");
    if (rnd(m, 200) == 0)
        out[0] = 0;
}

static void differ(struct model *m, const char *field, long ours, long theirs)
{
    print_error("step %u: %s: %s: ours %ld, host %ld\n", m->step, m->what, field, ours, theirs);
    fail();
}

static void same(struct model *m, const char *field, long ours, long theirs)
{
    if (ours != theirs)
        differ(m, field, ours, theirs);
}

static long host(long r)
{
    return r < 0 ? -errno : r;
}

static void same_stat(struct model *m, const struct stat *a, const struct stat *b)
{
    same(m, "mode", a->st_mode, b->st_mode);
    same(m, "uid", a->st_uid, b->st_uid);
    same(m, "nlink", (long)a->st_nlink, (long)b->st_nlink);
    if (!S_ISDIR(a->st_mode))
        same(m, "size", a->st_size, b->st_size);
}

static void op_open(struct model *m)
{
    static const uint32_t bits[] = {O_CREAT,  O_CREAT,     O_EXCL,     O_TRUNC,
                                    O_APPEND, O_DIRECTORY, O_NOFOLLOW, O_PATH};
    char p[256];
    path(m, p);
    uint32_t flags = rnd(m, 3), mode = rnd(m, 512);
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
        if (rnd(m, i < 2 ? 3 : 10) == 0)
            flags |= bits[i];
    if ((flags & O_CREAT) && (flags & O_DIRECTORY))
        flags &= ~(uint32_t)O_DIRECTORY; /* kernels differ */
    if ((flags & O_EXCL) && !(flags & O_CREAT))
        flags &= ~(uint32_t)O_EXCL;
    snprintf(m->what, sizeof(m->what), "open %s flags %o mode %o", p, flags, mode);
    struct file *f = vfs_open(m->t, AT_FDCWD, p, flags, mode);
    int fd = open(p, (int)flags, mode);
    same(m, "result", IS_ERR(f) ? PTR_ERR(f) : 0, fd < 0 ? -errno : 0);
    if (IS_ERR(f))
        return;
    struct stat a, b;
    assert_int_equal(vfs_fstat(f, &a), 0);
    assert_int_equal(fstat(fd, &b), 0);
    same_stat(m, &a, &b);
    bool keep = S_ISREG(a.st_mode) && !(flags & O_PATH);
    if (m->overlay && (flags & O_ACCMODE) == O_RDONLY)
        keep = false;
    if (!keep) {
        file_put(f);
        close(fd);
        return;
    }
    struct pair *x = &m->fds[rnd(m, FDS)];
    if (x->f) {
        file_put(x->f);
        close(x->fd);
    }
    *x = (struct pair){f, fd};
}

static struct pair *some_fd(struct model *m)
{
    struct pair *x = &m->fds[rnd(m, FDS)];
    return x->f ? x : NULL;
}

static void op_write(struct model *m)
{
    static char data[DATA_MAX];
    struct pair *x = some_fd(m);
    if (!x)
        return;
    size_t n = rnd(m, DATA_MAX);
    int64_t pos = rnd(m, 2) ? -1 : rnd(m, 10) ? (int64_t)rnd(m, 20000) : (int64_t)rnd(m, 5000000);
    memset(data, (int)('A' + rnd(m, 26)), n);
    snprintf(m->what, sizeof(m->what), "write fd %d %zu at %ld", (int)(x - m->fds), n, pos);
    struct uio u;
    uio_init_kernel(&u, data, n);
    ssize_t r = vfs_write_nowait(m->t, x->f, &u, pos);
    uio_fini(&u);
    same(m, "result", r, host(pos < 0 ? write(x->fd, data, n) : pwrite(x->fd, data, n, pos)));
}

static void read_both(struct model *m, struct pair *x, size_t n, int64_t pos)
{
    static char a[70000], b[70000];
    struct uio u;
    memset(a, 1, n);
    memset(b, 1, n);
    uio_init_kernel(&u, a, n);
    ssize_t r = vfs_read_nowait(x->f, &u, pos);
    uio_fini(&u);
    same(m, "result", r, host(pos < 0 ? read(x->fd, b, n) : pread(x->fd, b, n, pos)));
    if (r > 0 && memcmp(a, b, (size_t)r) != 0)
        for (ssize_t i = 0; i < r; i++)
            if (a[i] != b[i])
                differ(m, "data at", i, (unsigned char)a[i] << 8 | (unsigned char)b[i]);
}

static void op_read(struct model *m)
{
    struct pair *x = some_fd(m);
    if (!x)
        return;
    int64_t pos = rnd(m, 2) ? -1 : (int64_t)rnd(m, 30000);
    size_t n = rnd(m, 30000);
    snprintf(m->what, sizeof(m->what), "read fd %d %zu at %ld", (int)(x - m->fds), n, pos);
    read_both(m, x, n, pos);
}

static void op_cat(struct model *m)
{
    char p[256];
    path(m, p);
    snprintf(m->what, sizeof(m->what), "cat %s", p);
    struct pair x = {vfs_open(m->t, AT_FDCWD, p, O_RDONLY, 0), open(p, O_RDONLY)};
    same(m, "open", IS_ERR(x.f) ? PTR_ERR(x.f) : 0, x.fd < 0 ? -errno : 0);
    if (IS_ERR(x.f))
        return;
    read_both(m, &x, 65000, -1);
    read_both(m, &x, 65000, -1);
    file_put(x.f);
    close(x.fd);
}

static void op_seek(struct model *m)
{
    struct pair *x = some_fd(m);
    if (!x)
        return;
    int whence = (int)rnd(m, 3);
    int64_t off = (int64_t)rnd(m, 40000) - 10000;
    snprintf(m->what, sizeof(m->what), "seek fd %d %ld %d", (int)(x - m->fds), off, whence);
    same(m, "result", x->f->ops->seek(x->f, off, whence), host(lseek(x->fd, off, whence)));
}

static void op_truncate(struct model *m)
{
    char p[256];
    path(m, p);
    int64_t size = rnd(m, 6) ? rnd(m, 20000) : rnd(m, 9000000);
    snprintf(m->what, sizeof(m->what), "truncate %s %ld", p, size);
    struct path at = {0};
    int r = path_lookup(m->t, AT_FDCWD, p, 0, &at);
    if (r == 0)
        r = vfs_truncate(m->t, &at, size);
    path_put(&at);
    same(m, "result", r, host(truncate(p, size)));
}

static void op_names(struct model *m, unsigned kind)
{
    char p[256], q[256];
    struct path at = {0};
    path(m, p);
    path(m, q);
    uint32_t mode = rnd(m, 512), flags = rnd(m, 6)   ? 0
                                         : rnd(m, 2) ? RENAME_NOREPLACE
                                                     : RENAME_EXCHANGE;
    static const char *const what[] = {"mkdir", "rmdir",   "unlink", "rename",
                                       "link",  "symlink", "chmod"};
    snprintf(m->what, sizeof(m->what), "%s %s %s mode %o flags %u", what[kind], p, q, mode, flags);
    struct task *t = m->t;
    int r = -1;
    long h = -1;
    switch (kind) {
    case 0:
        r = vfs_mkdir(t, AT_FDCWD, p, mode);
        h = host(mkdir(p, mode));
        break;
    case 1:
        r = vfs_rmdir(t, AT_FDCWD, p);
        h = host(rmdir(p));
        break;
    case 2:
        r = vfs_unlink(t, AT_FDCWD, p);
        h = host(unlink(p));
        break;
    case 3:
        r = vfs_rename(t, AT_FDCWD, p, AT_FDCWD, q, flags);
        h = host(syscall(SYS_renameat2, AT_FDCWD, p, AT_FDCWD, q, flags));
        break;
    case 4:
        r = path_lookup(t, AT_FDCWD, p, LOOKUP_NOFOLLOW, &at);
        if (r == 0)
            r = vfs_link(t, &at, AT_FDCWD, q);
        h = host(link(p, q));
        break;
    case 5:
        r = vfs_symlink(t, p, AT_FDCWD, q);
        h = host(symlink(p, q));
        break;
    default:
        r = path_lookup(t, AT_FDCWD, p, 0, &at);
        if (r == 0)
            r = vfs_chmod(t, &at, mode);
        h = host(chmod(p, mode));
        break;
    }
    path_put(&at);
    same(m, "result", r, h);
}

static void op_stat(struct model *m)
{
    char p[256], l[300] = "", k[300] = "";
    struct stat a, b;
    path(m, p);
    snprintf(m->what, sizeof(m->what), "stat %s", p);
    int r = vfs_stat(m->t, AT_FDCWD, p, 0, &a);
    same(m, "stat", r, host(stat(p, &b)));
    if (r == 0)
        same_stat(m, &a, &b);
    r = vfs_stat(m->t, AT_FDCWD, p, LOOKUP_NOFOLLOW, &a);
    same(m, "lstat", r, host(lstat(p, &b)));
    if (r == 0)
        same_stat(m, &a, &b);
    if (r < 0 || !S_ISLNK(a.st_mode))
        return;
    struct path at;
    assert_int_equal(path_lookup(m->t, AT_FDCWD, p, LOOKUP_NOFOLLOW, &at), 0);
    struct inode *i = path_inode(&at);
    same(m, "readlink", i->ops->readlink(i, l, sizeof(l) - 1), host(readlink(p, k, sizeof(k) - 1)));
    assert_string_equal(l, k);
    path_put(&at);
}

static void op_cwd(struct model *m)
{
    char p[256], a[4200], b[4200];
    path(m, p);
    if (rnd(m, 3) == 0)
        strcpy(p, "/");
    snprintf(m->what, sizeof(m->what), "chdir %s", p);
    struct path at = {0};
    int r = path_lookup(m->t, AT_FDCWD, p, LOOKUP_DIRECTORY, &at);
    same(m, "result", r, host(chdir(p)));
    if (r < 0)
        return;
    struct path old = m->t->fs->cwd;
    m->t->fs->cwd = at;
    path_put(&old);
    ssize_t n = path_deleted(&at) ? -ENOENT : path_format(m->t, &at, a, sizeof(a), false);
    long h = host(syscall(SYS_getcwd, b, sizeof(b)));
    same(m, "getcwd", n < 0 ? n : n + 1, h);
    if (n > 0)
        assert_string_equal(a, b);
}

struct names {
    struct getdents_ctx ctx;
    char *list[400];
    unsigned count, room;
};

static bool names_emit(struct getdents_ctx *ctx, const char *s, size_t len, uint64_t ino,
                       uint8_t type, int64_t next)
{
    struct names *n = container_of(ctx, struct names, ctx);
    (void)ino;
    (void)next;
    if (n->room-- == 0 || n->count == ARRAY_SIZE(n->list))
        return false;
    char *e = malloc(len + 3);
    sprintf(e, "%c%.*s", 'A' + type, (int)len, s);
    n->list[n->count++] = e;
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void op_list(struct model *m)
{
    static struct names n;
    char p[256], *theirs[400];
    unsigned count = 0, before;
    path(m, p);
    snprintf(m->what, sizeof(m->what), "list %s", p);
    struct file *f = vfs_open(m->t, AT_FDCWD, p, O_RDONLY | O_DIRECTORY, 0);
    DIR *d = opendir(p);
    same(m, "open", IS_ERR(f) ? PTR_ERR(f) : 0, d ? 0 : -errno);
    if (IS_ERR(f))
        return;
    n.count = 0;
    n.ctx.emit = names_emit;
    do {
        before = n.count;
        n.room = 1 + rnd(m, 5);
        int r = vfs_readdir(f, &n.ctx);
        if (r < 0)
            same(m, "readdir of a removed directory", r, -ENOENT);
    } while (n.count != before);
    for (struct dirent *e; (e = readdir(d));) {
        char *s = malloc(strlen(e->d_name) + 3);
        sprintf(s, "%c%s", 'A' + e->d_type, e->d_name);
        theirs[count++] = s;
    }
    qsort(n.list, n.count, sizeof(char *), by_name);
    qsort(theirs, count, sizeof(char *), by_name);
    same(m, "entries", n.count, count);
    for (unsigned i = 0; i < count; i++) {
        assert_string_equal(n.list[i], theirs[i]);
        free(n.list[i]);
        free(theirs[i]);
    }
    file_put(f);
    closedir(d);
}

static void run(struct model *m, unsigned steps)
{
    for (unsigned k = 0; k < steps; k++, m->step++) {
        unsigned op = rnd(m, 100);
        if (op < 18)
            op_open(m);
        else if (op < 26)
            op_write(m);
        else if (op < 32)
            op_read(m);
        else if (op < 36)
            op_cat(m);
        else if (op < 39)
            op_seek(m);
        else if (op < 42)
            op_truncate(m);
        else if (op < 82)
            op_names(m, rnd(m, 7));
        else if (op < 92)
            op_stat(m);
        else if (op < 94)
            op_cwd(m);
        else
            op_list(m);
    }
}

static void drop_files(struct model *m)
{
    for (unsigned i = 0; i < FDS; i++)
        if (m->fds[i].f) {
            file_put(m->fds[i].f);
            close(m->fds[i].fd);
            m->fds[i] = (struct pair){0};
        }
}

/* Each in a child: it changes its root. */
static void in_child(void (*fn)(const char *dir), const char *tag)
{
    char dir[64];
    snprintf(dir, sizeof(dir), "/tmp/vfs_model_%s_XXXXXX", tag);
    fflush(NULL);
    if (geteuid() != 0)
        skip();
    char *made = mkdtemp(dir);
    assert_non_null(made);
    pid_t pid = fork();
    if (pid == 0) {
        umask(022);
        if (chmod(dir, 0755) || chroot(dir) || chdir("/"))
            _exit(2);
        fn(dir);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
    (void)!system(cmd);
    assert_int_equal(status, 0);
}

static uint64_t seed_get(void)
{
    const char *s = getenv("VFS_SEED");
    return s ? strtoull(s, NULL, 0) : 0x1234567;
}

static void run_tmpfs(const char *dir)
{
    (void)dir;
    fixture_init();
    struct model m = {.t = fixture_task(tmpfs_new(0, 0755, 0, 0), 0), .seed = seed_get()};
    run(&m, OPS);
    drop_files(&m);
    fixture_task_end(m.t);
}

static void run_overlay(const char *dir)
{
    (void)dir;
    fixture_init();
    struct superblock *lower = tmpfs_new(0, 0755, 0, 0);
    struct model m = {.t = fixture_task(superblock_get(lower), 0), .seed = seed_get() + 1};
    run(&m, 3000);
    for (unsigned level = 0; level < 4; level++) { /* each round stacks one more */
        drop_files(&m);
        (void)!chdir("/");
        fixture_task_end(m.t);
        struct superblock *sb = overlay_new(lower, 0);
        lower = superblock_get(sb);
        m.t = fixture_task(sb, 0);
        m.overlay = true;
        run(&m, OPS / 4);
    }
    drop_files(&m);
    fixture_task_end(m.t);
    superblock_put(lower);
}

static void test_tmpfs(void **state)
{
    (void)state;
    in_child(run_tmpfs, "tmpfs");
}

static void test_overlay(void **state)
{
    (void)state;
    in_child(run_overlay, "overlay");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tmpfs),
                                       cmocka_unit_test(test_overlay)};
    return cmocka_run_group_tests_name("vfs_model", tests, NULL, NULL);
}
