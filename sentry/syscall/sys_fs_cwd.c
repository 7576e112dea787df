/* SPDX-License-Identifier: Apache-2.0
 * sys_fs_cwd.c - working directory, root, umask. */
#include <linux/capability.h>

#include <vfs/unveil.h>

#include "sys_path.h"

sysret_t sys_getcwd(struct call *c, uaddr_t buf, size_t size)
{
    struct task *t = c->task;
    struct path cwd AUTO_PATH = {0};
    char *text autofree = malloc(PATH_LEN_MAX);
    if (!text)
        return -ENOMEM;
    spin_lock(&t->fs->lock);
    cwd = t->fs->cwd;
    path_get(&cwd);
    spin_unlock(&t->fs->lock);
    if (path_deleted(&cwd) || unveil_check(t, &cwd, 0))
        return -ENOENT;
    ssize_t n = path_format(t, &cwd, text, PATH_LEN_MAX, false);
    if (n < 0)
        return n;
    if (size < (size_t)n + 1)
        return -ERANGE;
    int r = copy_out(t->mm, buf, text, (size_t)n + 1);
    return r < 0 ? r : n + 1;
}

/* @p: reference taken over on success. */
static int set_cwd(struct task *t, struct path *p)
{
    struct inode *i = path_inode(p);
    if (!S_ISDIR(inode_type(i)))
        return -ENOTDIR;
    int r = inode_permission(i, MAY_EXEC, t->cred);
    if (r < 0)
        return r;
    spin_lock(&t->fs->lock);
    struct path old = t->fs->cwd;
    t->fs->cwd = *p;
    spin_unlock(&t->fs->lock);
    *p = old; /* the caller puts it */
    return 0;
}

sysret_t sys_chdir(struct call *c, uaddr_t path)
{
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(c->task, AT_FDCWD, path, LOOKUP_DIRECTORY, &p);
    return r < 0 ? r : set_cwd(c->task, &p);
}

sysret_t sys_fchdir(struct call *c, int32_t fd)
{
    struct path p AUTO_PATH = {0};
    int r = path_from_fd(c->task, fd, false, &p);
    if (r == -EBADF) {
        struct file *f AUTO_PUT(file) = fdtable_file(c->task->fds, fd);
        return IS_ERR(f) ? -EBADF : -ENOTDIR;
    }
    return r < 0 ? r : set_cwd(c->task, &p);
}

sysret_t sys_chroot(struct call *c, uaddr_t path)
{
    struct task *t = c->task;
    struct path p AUTO_PATH = {0};
    int r = path_from_guest(t, AT_FDCWD, path, LOOKUP_DIRECTORY, &p);
    if (r == 0)
        r = inode_permission(path_inode(&p), MAY_EXEC, t->cred);
    if (r < 0)
        return r;
    if (!cred_capable(t->cred, CAP_SYS_CHROOT))
        return -EPERM;
    spin_lock(&t->fs->lock);
    struct path old = t->fs->root;
    t->fs->root = p;
    spin_unlock(&t->fs->lock);
    p = old;
    return 0;
}

sysret_t sys_umask(struct call *c, uint32_t mask)
{
    struct fs_struct *fs = c->task->fs;
    spin_lock(&fs->lock);
    uint32_t old = fs->umask;
    fs->umask = mask & 0777;
    spin_unlock(&fs->lock);
    return old;
}
