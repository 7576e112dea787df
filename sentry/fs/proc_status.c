/* SPDX-License-Identifier: Apache-2.0
 * proc_status.c - stat, statm and status of a process or thread.
 *
 * A snapshot is taken field by field under the locks that guard them, then printed; it may be torn
 * between fields, as on Linux. A zombie has its numbers and no memory.
 *
 * Locks: process->lock, g_pids, one after the other. */
#include <kernel/signal.h>
#include <vfs/fdtable.h>

#include "proc.h"

struct snapshot {
    int32_t pid, tid, ppid, pgid, sid;
    char comm[TASK_COMM_LEN + 1], state;
    uint32_t threads, umask, fd_size;
    uint64_t cpu_ns;
    int64_t start_ns;
    int32_t exit_status, exit_signal, nice;
    sigset_t_abi pending, shared_pending, blocked, ignored, caught;
    uint64_t sig_queued, sig_limit;
    bool no_new_privs;
    uint64_t cpu_mask[TASK_CPU_WORDS]; /* of a zombie: none */
    struct cred *cred;                 /* reference or NULL */
    struct rlimit rss_limit;
    struct mm_stats mem;
    struct mm_layout layout;
    bool has_mm;
};

static char task_state_char(struct task *t)
{
    struct process *p = t->process;

    if (p->stopped)
        return 'T';
    return t == task_current() || !t->in_call ? 'R' : 'S';
}

static void snapshot_signals(struct snapshot *s, struct process *p)
{
    struct sighand *h;

    spin_lock(&p->lock);
    h = p->sighand ? sighand_get(p->sighand) : NULL;
    spin_unlock(&p->lock);
    for (int signo = 1; h && signo <= NSIGNALS; signo++) {
        struct sigaction_abi a;
        sighand_action(h, signo, &a);
        if (a.handler == (uint64_t)(uintptr_t)SIG_IGN)
            s->ignored |= SIGBIT(signo);
        else if (a.handler != (uint64_t)(uintptr_t)SIG_DFL)
            s->caught |= SIGBIT(signo);
    }
    if (h)
        sighand_put(h);
}

static void snapshot_memory(struct snapshot *s, struct task *t)
{
    struct mm *mm = task_mm_get(t);

    if (!mm)
        return;
    mm_stats_get(mm, &s->mem);
    mm_get_layout(mm, &s->layout);
    s->has_mm = true;
    mm_put(mm);
}

static void snapshot_task(struct snapshot *s, struct task *t)
{
    task_get_comm(t, s->comm);
    spin_lock(&t->process->lock);
    s->state = task_state_char(t);
    s->tid = t->tid;
    s->blocked = t->blocked;
    s->pending = t->pending.set;
    s->nice = t->nice;
    s->no_new_privs = t->no_new_privs;
    memcpy(s->cpu_mask, t->cpu_mask, sizeof(s->cpu_mask));
    spin_unlock(&t->process->lock);
    s->cred = task_cred_get(t);
    struct fs_struct *fs = proc_fs(t);
    if (fs) {
        s->umask = fs->umask;
        fs_struct_put(fs);
    }
    struct fdtable *fds = proc_fdtable(t);
    if (fds) {
        s->fd_size = MAX(fdtable_count(fds), 64u);
        fdtable_put(fds);
    }
    snapshot_memory(s, t);
}

/* 0, -ESRCH. @thread: times of the thread alone. The caller drops s->cred. */
static int snapshot_take(struct snapshot *s, const struct pseudo_key *k, bool thread)
{
    struct process *p AUTO_PUT(process) = proc_process(k);
    struct task *t AUTO_PUT(task) = p ? proc_task(k) : NULL;

    memset(s, 0, sizeof(*s));
    if (!p)
        return -ESRCH;
    s->pid = p->pid;
    s->tid = k->tid ? k->tid : p->pid;
    s->ppid = process_ppid(p);
    spin_lock(&g_pids);
    s->pgid = p->group ? p->group->pgid : 0;
    s->sid = p->group ? p->group->sid : 0;
    spin_unlock(&g_pids);
    s->state = p->state == PROCESS_RUNNING ? 'S' : 'Z';
    memcpy(s->comm, p->comm, sizeof(p->comm));
    if (t)
        snapshot_task(s, t);
    spin_lock(&p->lock);
    s->threads = p->thread_count;
    s->exit_status = p->state == PROCESS_RUNNING ? 0 : p->exit_status;
    s->exit_signal = p->exit_signal;
    s->shared_pending = p->shared_pending.set;
    s->sig_queued = p->shared_pending.count;
    s->sig_limit = p->rlimits[RLIMIT_SIGPENDING].rlim_cur;
    s->rss_limit = p->rlimits[RLIMIT_RSS];
    spin_unlock(&p->lock);
    if (!s->comm[0] && p == process_init())
        memcpy(s->comm, "init", 5);
    snapshot_signals(s, p);
    s->cpu_ns = (uint64_t)(thread && t ? task_cpu_ns(t) : process_cpu_ns(p));
    s->start_ns = thread && t ? t->start_ns : p->start_ns;
    return 0;
}

/* Monotonic time of a start as ticks since the host's boot, like Linux. */
static unsigned long long start_ticks(int64_t start_ns)
{
    int64_t slept = clock_now_ns(CLOCK_BOOTTIME) - clock_now_ns(CLOCK_MONOTONIC);

    return (unsigned long long)((start_ns + slept) / NSEC_PER_TICK);
}

bool (*procfs_session_tty)(int32_t sid, uint32_t *ret_rdev, int32_t *ret_pgid);

static int show_stat(struct text *t, const struct pseudo_key *k, bool thread)
{
    struct snapshot s;
    int err = snapshot_take(&s, k, thread);

    if (err)
        return err;
    const struct mm_layout *l = &s.layout;
    uint32_t tty = 0;
    int32_t tty_pgid = -1;
    if (procfs_session_tty)
        (void)procfs_session_tty(s.sid, &tty, &tty_pgid);
    text_printf(t, "%d (%s) %c %d %d %d %u %d 4194304 ", thread ? s.tid : s.pid, s.comm, s.state,
                s.ppid, s.pgid, s.sid, tty, tty_pgid);
    text_printf(t, "%llu 0 %llu 0 %llu 0 0 0 %d %d %u 0 %llu ", (unsigned long long)s.mem.minflt,
                (unsigned long long)s.mem.majflt, (unsigned long long)s.cpu_ns / NSEC_PER_TICK,
                20 + s.nice, s.nice, s.threads, start_ticks(s.start_ns));
    text_printf(t, "%llu %llu %llu %llu %llu %llu 0 0 ", (unsigned long long)s.mem.vsize,
                (unsigned long long)(s.mem.rss >> PAGE_SHIFT),
                (unsigned long long)s.rss_limit.rlim_cur, (unsigned long long)l->start_code,
                (unsigned long long)l->end_code, (unsigned long long)l->start_stack);
    text_printf(t, "%llu %llu %llu %llu 0 0 0 %d 0 0 0 0 0 0 ",
                (unsigned long long)(s.pending & 0x7fffffff),
                (unsigned long long)(s.blocked & 0x7fffffff),
                (unsigned long long)(s.ignored & 0x7fffffff),
                (unsigned long long)(s.caught & 0x7fffffff), s.exit_signal);
    text_printf(t, "%llu %llu %llu %llu %llu %llu %llu %d\n", (unsigned long long)l->start_data,
                (unsigned long long)l->end_data, (unsigned long long)l->start_brk,
                (unsigned long long)l->arg_start, (unsigned long long)l->arg_end,
                (unsigned long long)l->env_start, (unsigned long long)l->env_end, s.exit_status);
    proc_cred_put(&s.cred);
    return 0;
}

int proc_show_pid_stat(struct text *t, const struct pseudo_key *k)
{
    return show_stat(t, k, false);
}

int proc_show_tid_stat(struct text *t, const struct pseudo_key *k)
{
    return show_stat(t, k, true);
}

int proc_show_statm(struct text *t, const struct pseudo_key *k)
{
    struct snapshot s;
    int err = snapshot_take(&s, k, false);

    if (err)
        return err;
    text_printf(t, "%llu %llu %llu %llu 0 %llu 0\n",
                (unsigned long long)(s.mem.vsize >> PAGE_SHIFT),
                (unsigned long long)(s.mem.rss >> PAGE_SHIFT),
                (unsigned long long)(s.mem.rss_file >> PAGE_SHIFT),
                (unsigned long long)(s.mem.text >> PAGE_SHIFT),
                (unsigned long long)((s.mem.data + s.mem.stack) >> PAGE_SHIFT));
    proc_cred_put(&s.cred);
    return 0;
}

static const char *state_name(char c)
{
    switch (c) {
    case 'R':
        return "R (running)";
    case 'T':
        return "T (stopped)";
    case 'Z':
        return "Z (zombie)";
    default:
        return "S (sleeping)";
    }
}

static void status_memory(struct text *t, const struct mm_stats *m)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } lines[] = {
        {"VmPeak", m->vsize},
        {"VmSize", m->vsize},
        {"VmLck", m->locked},
        {"VmPin", 0},
        {"VmHWM", m->peak_rss},
        {"VmRSS", m->rss},
        {"RssAnon", m->rss - MIN(m->rss_file, m->rss)},
        {"RssFile", m->rss_file},
        {"RssShmem", 0},
        {"VmData", m->data},
        {"VmStk", m->stack},
        {"VmExe", m->text},
        {"VmLib", 0},
        {"VmPTE", 0},
        {"VmSwap", 0},
    };
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        text_printf(t, "%s:\t%8llu kB\n", lines[i].name, (unsigned long long)lines[i].bytes / 1024);
}

static void status_cred(struct text *t, const struct snapshot *s)
{
    const struct cred *c = s->cred;

    if (!c) {
        text_printf(t, "Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n");
        return;
    }
    text_printf(t, "Uid:\t%u\t%u\t%u\t%u\nGid:\t%u\t%u\t%u\t%u\n", c->uid, c->euid, c->suid,
                c->fsuid, c->gid, c->egid, c->sgid, c->fsgid);
    text_printf(t, "FDSize:\t%u\nGroups:\t", s->fd_size);
    for (uint32_t i = 0; i < c->group_count; i++)
        text_printf(t, "%u ", c->groups[i]);
    text_printf(t, "\n");
}

static void status_signals(struct text *t, const struct snapshot *s)
{
    const struct cred *c = s->cred;

    text_printf(t, "Threads:\t%u\nSigQ:\t%llu/%llu\n", s->threads,
                (unsigned long long)s->sig_queued, (unsigned long long)s->sig_limit);
    text_printf(t,
                "SigPnd:\t%016llx\nShdPnd:\t%016llx\nSigBlk:\t%016llx\nSigIgn:\t%016llx\n"
                "SigCgt:\t%016llx\n",
                (unsigned long long)s->pending, (unsigned long long)s->shared_pending,
                (unsigned long long)s->blocked, (unsigned long long)s->ignored,
                (unsigned long long)s->caught);
    if (c)
        text_printf(t,
                    "CapInh:\t%016llx\nCapPrm:\t%016llx\nCapEff:\t%016llx\nCapBnd:\t%016llx\n"
                    "CapAmb:\t%016llx\n",
                    (unsigned long long)c->cap_inheritable, (unsigned long long)c->cap_permitted,
                    (unsigned long long)c->cap_effective, (unsigned long long)c->cap_bounding,
                    (unsigned long long)c->cap_ambient);
}

int proc_show_status(struct text *t, const struct pseudo_key *k)
{
    struct snapshot s;
    int err = snapshot_take(&s, k, false);

    if (err)
        return err;
    text_printf(t, "Name:\t%s\nUmask:\t%04o\nState:\t%s\n", s.comm, s.umask, state_name(s.state));
    text_printf(t, "Tgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\n", s.pid, s.tid,
                s.ppid);
    status_cred(t, &s);
    text_printf(t, "NStgid:\t%d\nNSpid:\t%d\nNSpgid:\t%d\nNSsid:\t%d\n", s.pid, s.tid, s.pgid,
                s.sid);
    if (s.has_mm)
        status_memory(t, &s.mem);
    status_signals(t, &s);
    text_printf(t, "NoNewPrivs:\t%d\nSeccomp:\t0\nSeccomp_filters:\t0\n", s.no_new_privs);
    text_printf(t, "Cpus_allowed:\t");
    proc_cpu_map(t, s.cpu_mask);
    text_printf(t, "Cpus_allowed_list:\t");
    proc_cpu_list(t, s.cpu_mask);
    text_printf(t, "Mems_allowed:\t1\nMems_allowed_list:\t0\n"
                   "voluntary_ctxt_switches:\t0\nnonvoluntary_ctxt_switches:\t0\n");
    proc_cred_put(&s.cred);
    return 0;
}
