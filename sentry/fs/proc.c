/* SPDX-License-Identifier: Apache-2.0
 * proc.c - /proc: the root directory, processes by number, and finding what a key names.
 *
 * The tree is not exclusive: names of processes are looked up anew. A directory's key carries the
 * process's start time, so an old directory does not show a new process of the same number.
 *
 * Locks: none here; process->lock and g_pids inside the helpers. */
#include "proc.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <stdio.h>

#include <vfs/fdtable.h>

#include "reopen.h"

struct process *proc_process(const struct pseudo_key *k)
{
    struct process *p = process_find(k->pid);

    if (p && p->start_ns != k->start_ns) {
        process_put(p);
        return NULL;
    }
    return p;
}

struct task *proc_task(const struct pseudo_key *k)
{
    struct process *p AUTO_PUT(process) = proc_process(k);

    if (!p)
        return NULL;
    struct task *t = task_find(k->tid ? k->tid : k->pid);
    if (t && t->process == p)
        return t;
    task_put(t);
    return k->tid ? NULL : process_task_next(p, 0);
}

bool proc_key_fill(int32_t pid, struct pseudo_key *ret)
{
    struct process *p AUTO_PUT(process) = process_find(pid);

    if (!p)
        return false;
    *ret = (struct pseudo_key){.pid = pid, .start_ns = p->start_ns};
    struct task *t AUTO_PUT(task) = proc_task(ret);
    struct cred *c CLEANUP(proc_cred_put) = t && p->dumpable ? task_cred_get(t) : NULL;
    if (c) {
        ret->uid = c->euid;
        ret->gid = c->egid;
    }
    return true;
}

int proc_may_inspect(struct task *t)
{
    struct task *self = task_current();

    if (!self || self->process == t->process || cred_capable(self->cred, CAP_SYS_PTRACE))
        return 0;
    struct cred *c CLEANUP(proc_cred_put) = task_cred_get(t);
    const struct cred *s = self->cred;
    if (!c || s->fsuid != c->uid || s->fsuid != c->euid || s->fsuid != c->suid ||
        s->fsgid != c->gid || s->fsgid != c->egid || s->fsgid != c->sgid)
        return -EACCES;
    return t->process->dumpable ? 0 : -EACCES;
}

struct fdtable *proc_fdtable(struct task *t)
{
    spin_lock(&t->process->lock);
    struct fdtable *fds = t->fds ? fdtable_get(t->fds) : NULL;
    spin_unlock(&t->process->lock);
    return fds;
}

struct fs_struct *proc_fs(struct task *t)
{
    spin_lock(&t->process->lock);
    struct fs_struct *fs = t->fs ? fs_struct_get(t->fs) : NULL;
    spin_unlock(&t->process->lock);
    return fs;
}

/* --- the root directory --- */

static int show_self(struct text *t, const struct pseudo_key *k UNUSED)
{
    struct task *self = task_current();

    if (!self)
        return -ENOENT;
    text_printf(t, "%d", self->process->pid);
    return 0;
}

static int show_thread_self(struct text *t, const struct pseudo_key *k UNUSED)
{
    struct task *self = task_current();

    if (!self)
        return -ENOENT;
    text_printf(t, "%d/task/%d", self->process->pid, self->tid);
    return 0;
}

static struct inode *root_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k;
    int32_t pid = pseudo_number(name, len);

    if (pid <= 0 || !proc_key_fill(pid, &k))
        return ERR_PTR(-ENOENT);
    return pseudo_inode(dir->sb, &proc_pid_node, &k);
}

static int root_emit(struct getdents_ctx *ctx, const struct pseudo_key *k UNUSED)
{
    for (;;) {
        struct process *p AUTO_PUT(process) = process_next((int32_t)(ctx->pos - PSEUDO_DYNAMIC));
        if (!p)
            return 0;
        char name[16];
        int n = snprintf(name, sizeof(name), "%d", p->pid);
        if (!getdents_emit(ctx, name, (size_t)n, (uint64_t)p->pid + PSEUDO_DYNAMIC, 4 /* DT_DIR */,
                           PSEUDO_DYNAMIC + p->pid))
            return 0;
    }
}

static const struct pseudo_node root_nodes[] = {
    {.name = "self", .mode = S_IFLNK | 0777, .show = show_self},
    {.name = "thread-self", .mode = S_IFLNK | 0777, .show = show_thread_self},
    PSEUDO_LINK("mounts", "self/mounts"),
    PSEUDO_LINK("net", "self/net"),
    PSEUDO_DIR("sys", proc_sys_nodes),
    PSEUDO_FILE("cpuinfo", proc_show_cpuinfo),
    PSEUDO_FILE("meminfo", proc_show_meminfo),
    PSEUDO_FILE("vmstat", proc_show_vmstat),
    PSEUDO_FILE("stat", proc_show_stat),
    PSEUDO_FILE("uptime", proc_show_uptime),
    PSEUDO_FILE("loadavg", proc_show_loadavg),
    PSEUDO_FILE("version", proc_show_version),
    PSEUDO_FILE("filesystems", proc_show_filesystems),
    PSEUDO_TEXT("cmdline", "ringbox\n"),
    PSEUDO_TEXT("devices",
                "Character devices:\n  1 mem\n  5 /dev/tty\n136 pts\n\nBlock devices:\n"),
    PSEUDO_TEXT("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"),
    PSEUDO_TEXT("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"),
    PSEUDO_TEXT("partitions", "major minor  #blocks  name\n\n"),
    PSEUDO_TEXT("diskstats", ""),
    PSEUDO_TEXT("modules", ""),
    PSEUDO_TEXT("locks", ""),
    PSEUDO_END,
};

static const struct pseudo_node root_node = {
    .name = "/",
    .mode = S_IFDIR | 0555,
    .children = root_nodes,
    .lookup = root_lookup,
    .emit = root_emit,
};

struct process *procfs_process(const struct file *f)
{
    const struct inode *i = f->inode;

    if (!i || i->sb->magic != PROC_SUPER_MAGIC || pseudo_node(i) != &proc_pid_node)
        return NULL;
    struct process *p = proc_process(pseudo_key(i));
    return p ? p : ERR_PTR(-ESRCH);
}

void procfs_process_gone(int32_t pid)
{
    char name[16];

    snprintf(name, sizeof(name), "%d", pid);
    mount_forget("proc", name);
}

struct superblock *procfs_new(void)
{
    int err = reopen_init();

    if (err)
        return ERR_PTR(err);
    return pseudo_superblock("proc", PROC_SUPER_MAGIC, false, &root_node);
}
