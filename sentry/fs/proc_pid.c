/* SPDX-License-Identifier: Apache-2.0
 * proc_pid.c - the directory of a process or thread.
 *
 * Memory of another process (cmdline, environ) is read through its mm with a reference; what the
 * process wrote there is passed on as it is. Files that show memory or descriptors need the same
 * user, or CAP_SYS_PTRACE.
 *
 * Locks: process->lock for small fields. Left out: ns/, mem, pagemap, attr/, sched. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>

#include <vfs/fdtable.h>

#include "proc.h"

#define PROC_ARGS_MAX (2u << 20) /* bytes of cmdline or environ shown, as EXEC_STRINGS_MAX */

/* mm of the process, after a permission check when @inspect. NULL: zombie. ERR_PTR(-ESRCH, -EACCES)
 */
static struct mm *key_mm(const struct pseudo_key *k, bool inspect)
{
    struct task *t AUTO_PUT(task) = proc_task(k);

    if (!t) {
        struct process *p AUTO_PUT(process) = proc_process(k);
        return p ? NULL : ERR_PTR(-ESRCH);
    }
    int err = inspect ? proc_may_inspect(t) : 0;
    return err ? ERR_PTR(err) : task_mm_get(t);
}

/* A piece of guest memory; unreadable pages end it. */
static int add_memory(struct text *t, struct mm *mm, uint64_t start, uint64_t end)
{
    while (start < end && t->len < PROC_ARGS_MAX) {
        size_t n = MIN(end - start, PAGE_SIZE - (start & (PAGE_SIZE - 1)));
        char *at = text_reserve(t, n);
        if (!at)
            return -ENOMEM;
        if (copy_in_force(mm, at, UADDR(start), n))
            return 0;
        t->len += n;
        start += n;
    }
    return 0;
}

static int show_cmdline(struct text *t, const struct pseudo_key *k)
{
    struct mm *mm = key_mm(k, false);
    struct mm_layout l;

    if (IS_ERR_OR_NULL(mm))
        return PTR_ERR(mm);
    mm_get_layout(mm, &l);
    int err = add_memory(t, mm, l.arg_start, l.arg_end);
    /* A program that has written a title over its arguments and beyond ends at the first NUL. */
    if (!err && t->len && t->buf[t->len - 1]) {
        err = add_memory(t, mm, l.env_start, l.env_end);
        char *nul = memchr(t->buf, 0, t->len);
        if (nul)
            t->len = (size_t)(nul - t->buf);
    }
    mm_put(mm);
    return err;
}

static int show_environ(struct text *t, const struct pseudo_key *k)
{
    struct mm *mm = key_mm(k, true);
    struct mm_layout l;

    if (IS_ERR_OR_NULL(mm))
        return PTR_ERR(mm);
    mm_get_layout(mm, &l);
    int err = add_memory(t, mm, l.env_start, l.env_end);
    mm_put(mm);
    return err;
}

static int show_auxv(struct text *t, const struct pseudo_key *k)
{
    struct mm *mm = key_mm(k, true);
    struct mm_layout l;
    size_t n = 0;

    if (IS_ERR_OR_NULL(mm))
        return PTR_ERR(mm);
    mm_get_layout(mm, &l);
    while (n + 2 < ARRAY_SIZE(l.auxv) && l.auxv[n] != AT_NULL)
        n += 2;
    text_add(t, l.auxv, (n + 2) * sizeof(l.auxv[0]));
    mm_put(mm);
    return 0;
}

static int show_comm(struct text *t, const struct pseudo_key *k)
{
    struct task *task AUTO_PUT(task) = proc_task(k);
    char comm[TASK_COMM_LEN + 1] = {0};

    if (task) {
        task_get_comm(task, comm);
    } else {
        struct process *p AUTO_PUT(process) = proc_process(k);
        if (!p)
            return -ESRCH;
        memcpy(comm, p->comm, sizeof(p->comm));
    }
    text_printf(t, "%s\n", comm);
    return 0;
}

static int store_comm(const struct pseudo_key *k, const char *buf, size_t n)
{
    struct task *task AUTO_PUT(task) = proc_task(k);
    char comm[TASK_COMM_LEN] = {0};

    if (!task)
        return -ESRCH;
    struct task *self = task_current();
    if (!self || self->process != task->process)
        return -EINVAL;
    memcpy(comm, buf, MIN(strcspn(buf, "\n"), MIN(n, sizeof(comm) - 1)));
    task_set_comm(task, comm);
    return 0;
}

/* --- links --- */

static int link_text(struct text *t, const struct path *p)
{
    char *at = text_reserve(t, PATH_LEN_MAX);

    if (!at)
        return -ENOMEM;
    ssize_t n = path_format(task_current(), p, at, PATH_LEN_MAX, true);
    if (n < 0)
        return (int)n;
    t->len += (size_t)n;
    return 0;
}

static int follow_exe(const struct pseudo_key *k, struct path *ret)
{
    struct mm *mm = key_mm(k, true);

    if (IS_ERR_OR_NULL(mm))
        return mm ? PTR_ERR(mm) : -ENOENT;
    struct file *exe = mm_exe(mm);
    bool there = exe && exe->path.dentry;
    if (there) {
        *ret = exe->path;
        path_get(ret);
    }
    mm_put(mm);
    return there ? 0 : -ENOENT;
}

static int follow_fs(const struct pseudo_key *k, bool root, struct path *ret)
{
    struct task *t AUTO_PUT(task) = proc_task(k);

    if (!t)
        return -ENOENT;
    int err = proc_may_inspect(t);
    if (err)
        return err;
    struct fs_struct *fs = proc_fs(t);
    if (!fs)
        return -ENOENT;
    spin_lock(&fs->lock);
    *ret = root ? fs->root : fs->cwd;
    path_get(ret);
    spin_unlock(&fs->lock);
    fs_struct_put(fs);
    return 0;
}

static int follow_cwd(const struct pseudo_key *k, struct path *ret)
{
    return follow_fs(k, false, ret);
}

static int follow_root(const struct pseudo_key *k, struct path *ret)
{
    return follow_fs(k, true, ret);
}

static int show_link(struct text *t, const struct pseudo_key *k,
                     int (*follow)(const struct pseudo_key *, struct path *))
{
    struct path p AUTO_PATH = {0};
    int err = follow(k, &p);

    return err ? err : link_text(t, &p);
}

static int show_exe(struct text *t, const struct pseudo_key *k)
{
    return show_link(t, k, follow_exe);
}

static int show_cwd(struct text *t, const struct pseudo_key *k)
{
    return show_link(t, k, follow_cwd);
}

static int show_root(struct text *t, const struct pseudo_key *k)
{
    return show_link(t, k, follow_root);
}

/* --- mounts --- */

static const char *mount_source(const struct mount_info *m)
{
    return m->source[0] ? m->source : "none";
}

static int show_mounts(struct text *t, const struct pseudo_key *k UNUSED)
{
    struct mount_info m;

    for (unsigned n = 0; n < MOUNTS_MAX && mount_info(n, &m); n++) {
        text_escaped(t, mount_source(&m));
        text_printf(t, " ");
        text_escaped(t, m.target);
        text_printf(t, " %s %s 0 0\n", m.type, m.options);
    }
    return 0;
}

static int show_mountinfo(struct text *t, const struct pseudo_key *k UNUSED)
{
    struct mount_info m;

    for (unsigned n = 0; n < MOUNTS_MAX && mount_info(n, &m); n++) {
        text_printf(t, "%u %u %llu:%llu / ", m.id, m.parent, (unsigned long long)(m.dev >> 8),
                    (unsigned long long)(m.dev & 0xff));
        text_escaped(t, m.target);
        text_printf(t, " %s - %s ", m.options, m.type);
        text_escaped(t, mount_source(&m));
        text_printf(t, " %s\n", strncmp(m.options, "ro", 2) ? "rw" : "ro");
    }
    return 0;
}

/* --- limits, small numbers --- */

static void limit_value(struct text *t, rlim_t v)
{
    if (v == RLIM_INFINITY)
        text_printf(t, "%-20s ", "unlimited");
    else
        text_printf(t, "%-20llu ", (unsigned long long)v);
}

static int show_limits(struct text *t, const struct pseudo_key *k)
{
    static const struct {
        int nr;
        const char *name, *unit;
    } rows[] = {
        {RLIMIT_CPU, "Max cpu time", "seconds"},
        {RLIMIT_FSIZE, "Max file size", "bytes"},
        {RLIMIT_DATA, "Max data size", "bytes"},
        {RLIMIT_STACK, "Max stack size", "bytes"},
        {RLIMIT_CORE, "Max core file size", "bytes"},
        {RLIMIT_RSS, "Max resident set", "bytes"},
        {RLIMIT_NPROC, "Max processes", "processes"},
        {RLIMIT_NOFILE, "Max open files", "files"},
        {RLIMIT_MEMLOCK, "Max locked memory", "bytes"},
        {RLIMIT_AS, "Max address space", "bytes"},
        {RLIMIT_LOCKS, "Max file locks", "locks"},
        {RLIMIT_SIGPENDING, "Max pending signals", "signals"},
        {RLIMIT_MSGQUEUE, "Max msgqueue size", "bytes"},
        {RLIMIT_NICE, "Max nice priority", ""},
        {RLIMIT_RTPRIO, "Max realtime priority", ""},
        {RLIMIT_RTTIME, "Max realtime timeout", "us"},
    };
    struct process *p AUTO_PUT(process) = proc_process(k);
    struct rlimit limits[RLIM_NLIMITS];

    if (!p)
        return -ESRCH;
    spin_lock(&p->lock);
    memcpy(limits, p->rlimits, sizeof(limits));
    spin_unlock(&p->lock);
    text_printf(t, "%-25s %-20s %-20s %-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        text_printf(t, "%-25s ", rows[i].name);
        limit_value(t, limits[rows[i].nr].rlim_cur);
        limit_value(t, limits[rows[i].nr].rlim_max);
        text_printf(t, "%-10s\n", rows[i].unit);
    }
    return 0;
}

static int show_oom_score_adj(struct text *t, const struct pseudo_key *k)
{
    struct process *p AUTO_PUT(process) = proc_process(k);

    if (!p)
        return -ESRCH;
    text_printf(t, "%d\n", p->oom_score_adj);
    return 0;
}

static int store_oom_score_adj(const struct pseudo_key *k, const char *buf, size_t n UNUSED)
{
    struct process *p AUTO_PUT(process) = proc_process(k);
    char *end;
    long v = strtol(buf, &end, 10);

    if (!p)
        return -ESRCH;
    if (end == buf || v < -1000 || v > 1000)
        return -EINVAL;
    spin_lock(&p->lock);
    p->oom_score_adj = (int32_t)v;
    spin_unlock(&p->lock);
    return 0;
}

#define IO_TEXT                                                               \
    "rchar: 0\nwchar: 0\nsyscr: 0\nsyscw: 0\nread_bytes: 0\nwrite_bytes: 0\n" \
    "cancelled_write_bytes: 0\n"
#define ID_MAP_TEXT "         0          0 4294967295\n"

/* What processes and threads have in common. */
#define COMMON_NODES                                                                             \
    {.name = "fd", .mode = S_IFDIR | 0500, .lookup = proc_fd_lookup, .emit = proc_fd_emit},      \
        {.name = "fdinfo",                                                                       \
         .mode = S_IFDIR | 0500,                                                                 \
         .lookup = proc_fdinfo_lookup,                                                           \
         .emit = proc_fd_emit},                                                                  \
        {.name = "exe", .mode = S_IFLNK | 0777, .show = show_exe, .follow = follow_exe},         \
        {.name = "cwd", .mode = S_IFLNK | 0777, .show = show_cwd, .follow = follow_cwd},         \
        {.name = "root", .mode = S_IFLNK | 0777, .show = show_root, .follow = follow_root},      \
        {.name = "environ", .mode = S_IFREG | 0400, .show = show_environ},                       \
        {.name = "auxv", .mode = S_IFREG | 0400, .show = show_auxv},                             \
        {.name = "comm", .mode = S_IFREG | 0644, .show = show_comm, .store = store_comm},        \
        {.name = "oom_score_adj",                                                                \
         .mode = S_IFREG | 0644,                                                                 \
         .show = show_oom_score_adj,                                                             \
         .store = store_oom_score_adj},                                                          \
        {.name = "io", .mode = S_IFREG | 0400, .fixed = IO_TEXT},                                \
        PSEUDO_FILE("cmdline", show_cmdline), PSEUDO_FILE("status", proc_show_status),           \
        PSEUDO_FILE("statm", proc_show_statm), PSEUDO_FILE("maps", proc_show_maps),              \
        PSEUDO_FILE("smaps", proc_show_smaps),                                                   \
        PSEUDO_FILE("smaps_rollup", proc_show_smaps_rollup), PSEUDO_FILE("mounts", show_mounts), \
        PSEUDO_FILE("mountinfo", show_mountinfo), PSEUDO_FILE("limits", show_limits),            \
        PSEUDO_TEXT("cgroup", "0::/\n"), PSEUDO_TEXT("loginuid", "4294967295"),                  \
        PSEUDO_TEXT("sessionid", "4294967295"), PSEUDO_TEXT("oom_score", "0\n"),                 \
        PSEUDO_TEXT("wchan", "0"), PSEUDO_TEXT("schedstat", "0 0 0\n"),                          \
        PSEUDO_TEXT("uid_map", ID_MAP_TEXT), PSEUDO_TEXT("gid_map", ID_MAP_TEXT),                \
        PSEUDO_TEXT("setgroups", "allow\n"), PSEUDO_TEXT("personality", "00000000\n"),           \
        PSEUDO_DIR("net", proc_net_nodes)

static const struct pseudo_node pid_nodes[] = {
    {.name = "task", .mode = S_IFDIR | 0555, .lookup = proc_task_lookup, .emit = proc_task_emit},
    PSEUDO_FILE("stat", proc_show_pid_stat),
    PSEUDO_TEXT("coredump_filter", "00000033\n"),
    PSEUDO_TEXT("timerslack_ns", "50000\n"),
    COMMON_NODES,
    PSEUDO_END,
};

static const struct pseudo_node tid_nodes[] = {
    PSEUDO_FILE("stat", proc_show_tid_stat),
    COMMON_NODES,
    PSEUDO_END,
};

/* The same process, with the same owner. */
static bool pid_current(const struct pseudo_key *k)
{
    struct pseudo_key now;

    return proc_key_fill(k->pid, &now) && now.start_ns == k->start_ns && now.uid == k->uid &&
           now.gid == k->gid;
}

const struct pseudo_node proc_pid_node = {
    .name = "", .mode = S_IFDIR | 0555, .children = pid_nodes, .current = pid_current};
const struct pseudo_node proc_tid_node = PSEUDO_DIR("", tid_nodes);
