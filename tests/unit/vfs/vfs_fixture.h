/* SPDX-License-Identifier: Apache-2.0
 * vfs_fixture.h - a task without guest memory, enough for the vfs: credentials, root, descriptors. */
#ifndef VFS_FIXTURE_H
#define VFS_FIXTURE_H

#include <base/fiber.h>
#include <stdlib.h>

#include <base/err.h>
#include <base/hash.h>
#include <fs/fs.h>
#include <host/memfile.h>
#include <kernel/task.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

static inline void fixture_init(void)
{
    static bool done;
    struct memfile *mf;
    if (done)
        return;
    done = true;
    hash_init();
    if (memfile_create(1ULL << 30, &mf) < 0 || vfs_init() < 0 || fs_init(mf) < 0)
        abort();
}

/* A task whose root and cwd are @sb's root (taken). */
static inline struct task *fixture_task(struct superblock *sb, uint32_t uid)
{
    struct task *t = calloc(1, sizeof(*t));
    struct process *p = calloc(1, sizeof(*p));
    struct path root;
    if (!t || !p || IS_ERR(sb) || mount_root(sb, &root) < 0)
        abort();
    t->process = p;
    p->pid = 2;
    for (unsigned i = 0; i < RLIM_NLIMITS; i++)
        p->rlimits[i] = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    p->rlimits[RLIMIT_NOFILE] = (struct rlimit){1024, 1024};
    t->cred = cred_new(uid, uid, NULL, 0);
    if (uid == 0)
        t->cred->cap_effective = t->cred->cap_permitted = ~0ULL;
    t->fs = fs_struct_new(&root, &root, 022);
    t->fds = fdtable_new();
    path_put(&root);
    fiber_set_local(t);
    return t;
}

static inline void fixture_task_end(struct task *t)
{
    fdtable_put(t->fds);
    fs_struct_put(t->fs);
    fiber_set_local(NULL);
    cred_put(t->cred);
    free(t->process);
    free(t);
}

#endif
