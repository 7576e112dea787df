/* SPDX-License-Identifier: Apache-2.0
 * tty_job.c - controlling terminals: which session a terminal belongs to, its foreground group, and
 * what happens to the others (credentials(7), ioctl_tty(2)).
 *
 * A session has at most one terminal: the one that names it. A process may have given up its
 * session's (TIOCNOTTY), which its children inherit and setsid() ends.
 *
 * Locks: g_lock (RANK_LEAF) for the list and the owners. Signals are sent with no lock held; a group
 * may have changed hands by then, as it may natively. */
#include <signal.h>
#include <sys/ioctl.h>

#include <linux/capability.h>

#include "tty.h"

static struct spin g_lock = SPIN_INIT(RANK_LEAF);
static struct list_head g_terminals = {&g_terminals, &g_terminals};

void tty_job_add(struct tty_job *j)
{
    spin_lock(&g_lock);
    list_add_tail(&j->link, &g_terminals);
    spin_unlock(&g_lock);
}

static void process_session(struct process *p, int32_t *ret_sid, int32_t *ret_pgid)
{
    spin_lock(&g_pids);
    *ret_sid = p->group ? p->group->sid : 0;
    *ret_pgid = p->group ? p->group->pgid : 0;
    spin_unlock(&g_pids);
}

static struct tty_job *job_of_locked(int32_t sid)
{
    struct tty_job *j;

    list_for_each_entry (j, &g_terminals, link)
        if (sid && j->sid == sid)
            return j;
    return NULL;
}

/* Is there a process of group @pgid, and in session @sid? -ESRCH, -EPERM. */
static int group_check(int32_t pgid, int32_t sid)
{
    int r = -ESRCH;
    int32_t pid = 0;

    while (r == -ESRCH) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p)
            return r;
        int32_t s, g;
        process_session(p, &s, &g);
        pid = p->pid;
        if (g == pgid)
            r = s == sid ? 0 : -EPERM;
    }
    return r;
}

int tty_job_take(struct tty_job *j, struct task *t, bool steal)
{
    int32_t sid, pgid;
    int r = 0;

    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    if (j->sid == sid && sid == t->process->pid) {
        r = 0; /* it is ours already */
    } else if (sid != t->process->pid || job_of_locked(sid)) {
        r = -EPERM; /* only leaders take one, and only one */
    } else if (j->sid && !(steal && cred_capable(t->cred, CAP_SYS_ADMIN))) {
        r = -EPERM;
    } else {
        j->sid = sid;
        j->pgid = pgid;
        t->process->tty_given_up = false;
        t->process->tty_old_pgid = 0;
    }
    spin_unlock(&g_lock);
    return r;
}

/* The group that @j's session left in the foreground, 0 when it is nobody's. */
static int32_t job_release(struct tty_job *j, int32_t sid)
{
    int32_t pgid = 0;

    spin_lock(&g_lock);
    if (sid && j->sid == sid) {
        pgid = j->pgid;
        j->sid = j->pgid = 0;
    }
    spin_unlock(&g_lock);
    return pgid;
}

static void group_tell(int32_t pgid, bool on)
{
    if (pgid <= 0)
        return;
    (void)signal_send_group(pgid, SIGHUP, NULL);
    if (on)
        (void)signal_send_group(pgid, SIGCONT, NULL);
}

void tty_session_ended(struct process *leader, int32_t sid)
{
    int32_t pgid = 0;

    spin_lock(&g_lock);
    struct tty_job *j = job_of_locked(sid);
    if (j) {
        pgid = j->pgid;
        j->sid = j->pgid = 0;
    }
    spin_unlock(&g_lock);
    if (j)
        group_tell(pgid, false);
    else
        group_tell(leader->tty_old_pgid, true);
}

void tty_job_hangup(struct tty_job *j)
{
    spin_lock(&g_lock);
    int32_t sid = j->sid, pgid = j->pgid;
    j->sid = j->pgid = 0;
    list_del(&j->link);
    spin_unlock(&g_lock);
    struct process *leader AUTO_PUT(process) = sid ? process_find(sid) : NULL;
    if (!leader)
        return;
    leader->tty_old_pgid = pgid;
    (void)signal_send_process(leader, SIGHUP, NULL);
    (void)signal_send_process(leader, SIGCONT, NULL);
}

int32_t tty_job_foreground(struct tty_job *j)
{
    spin_lock(&g_lock);
    int32_t pgid = j->pgid;
    spin_unlock(&g_lock);
    return pgid;
}

void tty_job_signal(struct tty_job *j, int signo)
{
    int32_t pgid = tty_job_foreground(j);

    if (pgid > 0)
        (void)signal_send_group(pgid, signo, NULL);
}

bool tty_of_session(int32_t sid, uint32_t *ret_rdev, int32_t *ret_pgid)
{
    spin_lock(&g_lock);
    struct tty_job *j = job_of_locked(sid);
    if (j) {
        *ret_rdev = j->rdev;
        *ret_pgid = j->pgid;
    }
    spin_unlock(&g_lock);
    return j;
}

struct tty_job *tty_job_get_own(int (*open)(struct tty_job *j, struct file *f))
{
    struct task *t = task_current();
    int32_t sid, pgid;

    if (!t || t->process->tty_given_up)
        return NULL;
    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    struct tty_job *j = job_of_locked(sid);
    if (j && open && j->open != open)
        j = NULL;
    if (j)
        j->get(j);
    spin_unlock(&g_lock);
    return j;
}

int tty_controlling_open(struct file *f)
{
    struct tty_job *j = tty_job_get_own(NULL);

    return j ? j->open(j, f) : -ENXIO;
}

/* Would @t not notice @signo? */
static bool signal_unnoticed(struct task *t, int signo)
{
    struct sigaction_abi a;

    sighand_action(t->process->sighand, signo, &a);
    return a.handler == (uint64_t)(uintptr_t)SIG_IGN || (t->blocked & SIGBIT(signo));
}

int tty_job_check(struct tty_job *j, struct task *t, int signo)
{
    int32_t sid, pgid;

    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    bool background = j->sid == sid && j->pgid && j->pgid != pgid;
    spin_unlock(&g_lock);
    if (!background || t->process->tty_given_up)
        return 0;
    if (signal_unnoticed(t, signo))
        return signo == SIGTTIN ? -EIO : 0;
    if (process_group_orphaned(t->process))
        return -EIO;
    (void)signal_send_group(pgid, signo, NULL);
    return -ERESTARTSYS;
}

static sysret_t job_get(struct tty_job *j, struct task *t, uint32_t cmd, uint64_t arg, bool master)
{
    int32_t sid, pgid;

    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    bool ours = master || (j->sid && j->sid == sid && !t->process->tty_given_up);
    int32_t value = cmd == TIOCGSID ? j->sid : j->pgid;
    bool nobodys = !j->sid;
    spin_unlock(&g_lock);
    if (!ours || (cmd == TIOCGSID && nobodys))
        return -ENOTTY;
    return copy_out_obj(t->mm, UADDR(arg), &value);
}

static sysret_t job_set(struct tty_job *j, struct task *t, uint64_t arg)
{
    int32_t sid, pgid, value;

    int r = tty_job_check(j, t, SIGTTOU);
    if (r)
        return r == -EIO ? -ENOTTY : r;
    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    bool ours = j->sid && j->sid == sid;
    spin_unlock(&g_lock);
    if (!ours || t->process->tty_given_up)
        return -ENOTTY;
    if (copy_in_obj(t->mm, &value, UADDR(arg)))
        return -EFAULT;
    if (value < 0)
        return -EINVAL;
    r = group_check(value, sid);
    if (r)
        return r;
    spin_lock(&g_lock);
    if (j->sid == sid)
        j->pgid = value;
    spin_unlock(&g_lock);
    return 0;
}

static sysret_t job_give_up(struct tty_job *j, struct task *t)
{
    int32_t sid, pgid;

    process_session(t->process, &sid, &pgid);
    spin_lock(&g_lock);
    bool ours = j->sid && j->sid == sid && !t->process->tty_given_up;
    spin_unlock(&g_lock);
    if (!ours)
        return -ENOTTY;
    if (sid == t->process->pid)
        group_tell(job_release(j, sid), true);
    else
        t->process->tty_given_up = true;
    return 0;
}

sysret_t tty_job_ioctl(struct tty_job *j, struct task *t, uint32_t cmd, uint64_t arg, bool master)
{
    switch (cmd) {
    case TIOCGPGRP:
    case TIOCGSID:
        return job_get(j, t, cmd, arg, master);
    case TIOCSPGRP:
        return job_set(j, t, arg);
    case TIOCSCTTY:
        return tty_job_take(j, t, arg == 1);
    case TIOCNOTTY:
        return job_give_up(j, t);
    default:
        return -ENOTTY;
    }
}
