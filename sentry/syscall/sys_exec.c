/* SPDX-License-Identifier: Apache-2.0
 * sys_exec.c - execve, execveat: the arguments; the work is exec.c and exec_task.c. */
#include <syscall/exec.h>
#include <syscall/sys.h>

#include <fcntl.h>
#include <stdlib.h>

#include <base/err.h>
#include <vfs/vfs.h>

static sysret_t exec_run(struct call *c, int dirfd, uaddr_t upath, uaddr_t argv, uaddr_t envp,
                         unsigned lookup_flags)
{
    struct exec_args args;
    if (c->state)
        return exec_task_again(c);
    autofree char *path = path_copy_in(c->task, upath, lookup_flags & LOOKUP_EMPTY);
    if (IS_ERR(path))
        return PTR_ERR(steal(path));
    int err = exec_args_copy_in(c->task->mm, argv, envp, &args);
    if (err)
        return err;
    sysret_t r = exec_task(c, dirfd, path, lookup_flags, &args);
    free(args.strings);
    return r;
}

sysret_t sys_execve(struct call *c, uaddr_t path, uaddr_t argv, uaddr_t envp)
{
    return exec_run(c, AT_FDCWD, path, argv, envp, 0);
}

sysret_t sys_execveat(struct call *c, int32_t dirfd, uaddr_t path, uaddr_t argv, uaddr_t envp,
                      uint32_t flags)
{
    if (flags & ~(uint32_t)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
        return -EINVAL;
    unsigned lookup = 0;
    if (flags & AT_EMPTY_PATH)
        lookup |= LOOKUP_EMPTY;
    if (flags & AT_SYMLINK_NOFOLLOW)
        lookup |= LOOKUP_NOFOLLOW;
    return exec_run(c, dirfd, path, argv, envp, lookup);
}
