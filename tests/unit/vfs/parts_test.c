/* SPDX-License-Identifier: Apache-2.0
 * parts_test.c - mounts, limits, teardown, locks, descriptor tables: what the model test leaves. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include <cmocka.h>

#include <vfs/locks.h>

#include "vfs_fixture.h"

static struct task *g_t;

static int setup(void **state)
{
    (void)state;
    fixture_init();
    g_t = fixture_task(tmpfs_new(0, 0755, 0, 0), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_task_end(g_t);
    return 0;
}

static struct path lookup(const char *name)
{
    struct path p = {0};
    assert_int_equal(path_lookup(g_t, AT_FDCWD, name, 0, &p), 0);
    return p;
}

static void touch(const char *name)
{
    struct file *f = vfs_open(g_t, AT_FDCWD, name, O_CREAT | O_WRONLY, 0644);
    assert_false(IS_ERR(f));
    file_put(f);
}

static ssize_t put(const char *name, const char *data, size_t n, int64_t at)
{
    struct file *f = vfs_open(g_t, AT_FDCWD, name, O_CREAT | O_WRONLY, 0644);
    if (IS_ERR(f))
        return PTR_ERR(f);
    ssize_t r = file_pwrite_kernel(f, data, n, at);
    file_put(f);
    return r;
}

static void check_format(const struct path *p, const char *want)
{
    char buf[256];
    assert_true(path_format(g_t, p, buf, sizeof(buf), true) > 0);
    assert_string_equal(buf, want);
}

static void test_mounts(void **state)
{
    (void)state;
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/m", 0755), 0);
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/n", 0755), 0);
    touch("/f");
    struct path at = lookup("/m");
    assert_int_equal(mount_add(tmpfs_new(0, 0755, 0, 0), &at, 0), 0);
    path_put(&at);
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/m/sub", 0755), 0);
    touch("/m/sub/g");
    assert_int_equal(vfs_rename(g_t, AT_FDCWD, "/f", AT_FDCWD, "/m/f", 0), -EXDEV);
    assert_int_equal(vfs_rmdir(g_t, AT_FDCWD, "/m"), -EBUSY);
    assert_int_equal(vfs_rename(g_t, AT_FDCWD, "/m", AT_FDCWD, "/k", 0), -EBUSY);
    struct path sub = lookup("/m/sub"), up = lookup("/m/sub/../../n"), top = lookup("/m/..");
    check_format(&sub, "/m/sub");
    check_format(&up, "/n");
    check_format(&top, "/");
    path_put(&top);
    assert_int_equal(mount_bind(&sub, &up, MS_RDONLY), 0);
    path_put(&up);
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/n/x", 0755), -EROFS);
    assert_int_equal(vfs_unlink(g_t, AT_FDCWD, "/n/g"), -EROFS);
    struct path g = lookup("/n/g");
    check_format(&g, "/n/g");
    struct path root = lookup("/m");
    assert_int_equal(mount_remove(&sub, 0), -EINVAL);
    assert_int_equal(mount_remove(&root, 0), -EBUSY); /* sub is held */
    assert_int_equal(mount_remove(&root, MNT_DETACH), 0);
    path_put(&root);
    path_put(&sub); /* the bind mount keeps the tree */
    path_put(&g);
    g = lookup("/n/g");
    path_put(&g);
    root = lookup("/n");
    assert_int_equal(mount_remove(&root, 0), 0);
    path_put(&root);
    assert_int_equal(vfs_rmdir(g_t, AT_FDCWD, "/m"), 0);
    assert_int_equal(vfs_rmdir(g_t, AT_FDCWD, "/n"), 0);
    assert_int_equal(vfs_unlink(g_t, AT_FDCWD, "/f"), 0);
}

static void test_deleted_names(void **state)
{
    (void)state;
    struct file *f = vfs_open(g_t, AT_FDCWD, "/gone", O_CREAT | O_RDWR, 0644);
    assert_int_equal(vfs_unlink(g_t, AT_FDCWD, "/gone"), 0);
    check_format(&f->path, "/gone (deleted)");
    file_put(f);
    f = memfd_new("x y", 0, g_t->cred);
    check_format(&f->path, "/memfd:x y (deleted)");
    file_put(f);
}

static void test_limit(void **state)
{
    (void)state;
    static char data[3 * 4096];
    memset(data, 1, sizeof(data));
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/l", 0755), 0);
    struct path at = lookup("/l");
    assert_int_equal(mount_add(tmpfs_new(4 * 4096, 0755, 0, 0), &at, 0), 0);
    path_put(&at);
    assert_int_equal(put("/l/a", data, sizeof(data), 0), sizeof(data));
    assert_int_equal(put("/l/b", data, sizeof(data), 0), 4096); /* as far as it goes */
    assert_int_equal(put("/l/c", data, 1, 0), -ENOSPC);
    assert_int_equal(vfs_unlink(g_t, AT_FDCWD, "/l/b"), 0);
    assert_int_equal(put("/l/c", data, 4096, 1ULL << 40), 4096);
    assert_int_equal(put("/l/c", data, 1, 0), -ENOSPC);
    at = lookup("/l/c");
    assert_int_equal(vfs_truncate(g_t, &at, 0), 0);
    path_put(&at);
    assert_int_equal(put("/l/d", data, 4096, 12345678), 4096 - 12345678 % 4096);
    at = lookup("/l");
    assert_int_equal(mount_remove(&at, MNT_DETACH), 0);
    path_put(&at);
    assert_int_equal(vfs_rmdir(g_t, AT_FDCWD, "/l"), 0);
}

/* A tree so deep that a recursive teardown would leave the stack. */
static void test_deep_teardown(void **state)
{
    (void)state;
    assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "/deep", 0755), 0);
    struct path at = lookup("/deep");
    struct superblock *lower = tmpfs_new(0, 0755, 0, 0);
    assert_int_equal(mount_add(overlay_new(lower, 0), &at, 0), 0);
    path_put(&at);
    struct path root = g_t->fs->cwd;
    g_t->fs->cwd = lookup("/deep");
    for (unsigned i = 0; i < 20000; i++) {
        assert_int_equal(vfs_mkdir(g_t, AT_FDCWD, "d", 0755), 0);
        struct path old = g_t->fs->cwd;
        g_t->fs->cwd = lookup("d");
        path_put(&old);
    }
    path_put(&g_t->fs->cwd);
    g_t->fs->cwd = root;
    at = lookup("/deep");
    assert_int_equal(mount_remove(&at, MNT_DETACH), 0);
    path_put(&at);
}

static void test_many_names(void **state)
{
    (void)state;
    char name[32];
    struct stat st;
    for (unsigned i = 0; i < DENTRIES_MAX + 5000; i++) { /* negative entries are evicted too */
        snprintf(name, sizeof(name), "/none%u", i);
        assert_int_equal(vfs_stat(g_t, AT_FDCWD, name, 0, &st), -ENOENT);
    }
    touch("/still");
    assert_int_equal(vfs_stat(g_t, AT_FDCWD, "/still", 0, &st), 0);
}

static struct lock_range lock(void *owner, int type, uint64_t start, uint64_t end)
{
    return (struct lock_range){.owner = owner, .type = (int16_t)type, .start = start, .end = end};
}

static void test_locks(void **state)
{
    (void)state;
    int a, b;
    touch("/locked");
    struct path p = lookup("/locked");
    struct inode *i = path_inode(&p);
    struct lock_range l = lock(&a, F_WRLCK, 0, 99), hit;
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&a, F_UNLCK, 40, 59); /* splits */
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&b, F_WRLCK, 40, 59);
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&b, F_RDLCK, 39, 39);
    assert_int_equal(lock_range_set(i, &l), -EAGAIN);
    assert_true(lock_range_conflict(i, &l, &hit));
    assert_int_equal(hit.start, 0);
    assert_int_equal(hit.end, 39);
    l = lock(&b, F_UNLCK, 0, INT64_MAX);
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&a, F_WRLCK, 40, 59); /* joins both sides */
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&b, F_RDLCK, 99, 200);
    assert_true(lock_range_conflict(i, &l, &hit));
    assert_int_equal(hit.start, 0);
    assert_int_equal(hit.end, 99);
    l = lock(&a, F_RDLCK, 50, 60); /* a part becomes a read lock */
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&b, F_RDLCK, 50, 60);
    assert_int_equal(lock_range_set(i, &l), 0);
    l = lock(&b, F_RDLCK, 50, 61);
    assert_int_equal(lock_range_set(i, &l), -EAGAIN);
    path_put(&p);
}

static void test_descriptors(void **state)
{
    (void)state;
    struct file *f = vfs_open(g_t, AT_FDCWD, "/", O_RDONLY, 0), *old;
    for (int i = 0; i < 1024; i++)
        assert_int_equal(fd_install(g_t, f, 0, 0), i);
    assert_int_equal(fd_install(g_t, f, 0, 0), -EMFILE);
    assert_int_equal(fd_close(g_t, 500), 0);
    assert_int_equal(fd_close(g_t, 500), -EBADF);
    assert_int_equal(fd_close(g_t, 7), 0);
    assert_int_equal(fd_install(g_t, f, O_CLOEXEC, 100), 500);
    assert_int_equal(fd_install(g_t, f, 0, 0), 7);
    assert_int_equal(fd_install_at(g_t, 1024, f, 0, &old), -EBADF);
    assert_int_equal(fd_install_at(g_t, 9, f, 0, &old), 9);
    assert_ptr_equal(old, f);
    file_put(old);
    struct fdtable *copy = fdtable_copy(g_t->fds);
    assert_int_equal(fdtable_count(copy), 1024);
    fdtable_put(copy);
    fdtable_close_on_exec(g_t->fds, g_t);
    assert_int_equal(fdtable_count(g_t->fds), 1023);
    assert_int_equal(fdtable_close_range(g_t, 0, UINT32_MAX, false), 0);
    assert_int_equal(fdtable_count(g_t->fds), 0);
    assert_int_equal(refcount_read(&f->ref), 1);
    file_put(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mounts),      cmocka_unit_test(test_deleted_names),
        cmocka_unit_test(test_limit),       cmocka_unit_test(test_deep_teardown),
        cmocka_unit_test(test_many_names),  cmocka_unit_test(test_locks),
        cmocka_unit_test(test_descriptors),
    };
    return cmocka_run_group_tests_name("vfs_parts", tests, setup, teardown);
}
