/* SPDX-License-Identifier: Apache-2.0
 * task_test.c - life of tasks and processes on a fake platform: numbers, clone flags and limits,
 * threads, vfork, exit, reparenting, waiting, groups, exec by a thread.
 *
 * Host threads never run: the test is the guest. Address spaces are counters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <base/err.h>
#include <base/hash.h>
#include <kernel/futex.h>
#include <kernel/task.h>
#include <mm/mm.h>

#include "task_fakes.h"

/* --- the world --- */

static struct process *first;
static struct task *shell; /* of the first process */
static const struct pf_regs no_regs;

static int setup(void **state)
{
    (void)state;
    const struct kernel_config cfg = {.pid_max = 20, .hostname = "test"};
    hash_init();
    g_platform = &fake_platform;
    g_kernel_hooks = (struct kernel_hooks){.fds_clone = fake_clone_fds,
                                           .fds_put = fake_fds_put,
                                           .fs_clone = fake_clone_fs,
                                           .fs_put = fake_fs_put,
                                           .task_attach = fake_attach,
                                           .task_detach = fake_detach,
                                           .task_kick = fake_kick,
                                           .init_exited = fake_init_exited};
    call_ready_hook = fake_ready;
    futex_init();
    assert_int_equal(kernel_init(&cfg), 0);
    ended = NULL;
    fail_fork = fail_thread = 0;
    files = fs_structs = 1;
    struct cred *cred = cred_new(1000, 1000, NULL, 0);
    const struct process_root root = {.mm = fake_mm_new(),
                                      .fds = (struct fdtable *)&files,
                                      .fs = (struct fs_struct *)&fs_structs,
                                      .cred = cred,
                                      .regs = &no_regs,
                                      .comm = "first"};
    assert_int_equal(process_create_root(&root, &first), 0);
    shell = first->leader;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    if (first->leader)
        task_exit(first->leader, 0);
    assert_ptr_equal(ended, first);
    process_put(first);
    sighand_put(process_init()->sighand);
    assert_int_equal(kernel_task_count(), 0);
    assert_int_equal(mms, 0);
    assert_int_equal(threads, 0);
    assert_int_equal(attached, 0);
    assert_int_equal(files, 0);
    assert_int_equal(fs_structs, 0);
    assert_true(list_empty(&process_init()->children));
    return 0;
}

static int64_t clone_with(struct task *parent, uint64_t flags)
{
    const struct clone_args_k a = {.flags = flags, .exit_signal = SIGCHLD};
    return task_clone(parent, &a, &no_regs);
}

static struct task *clone_ok(struct task *parent, uint64_t flags)
{
    int64_t tid = clone_with(parent, flags);
    assert_true(tid > 0);
    struct task *t = task_find((int32_t)tid);
    assert_non_null(t);
    task_put(t); /* lives in the tables */
    return t;
}

#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)

/* --- tests --- */

static void test_first(void **state)
{
    (void)state;
    assert_int_equal(first->pid, 2);
    assert_int_equal(process_ppid(first), 1);
    assert_int_equal(process_pgid_of(2), 2);
    assert_int_equal(process_sid_of(2), 2);
    assert_int_equal(process_pgid_of(99), -ESRCH);
    assert_null(process_find(77));
    task_exit(shell, 7 << 8);
    assert_ptr_equal(ended, first);
    assert_int_equal(ended_status, 7 << 8);
}

static void test_clone_flags(void **state)
{
    (void)state;
    assert_int_equal(clone_with(shell, CLONE_SIGHAND), -EINVAL);
    assert_int_equal(clone_with(shell, CLONE_THREAD | CLONE_VM), -EINVAL);
    assert_int_equal(clone_with(shell, CLONE_PIDFD), -EINVAL);
    assert_int_equal(clone_with(shell, CLONE_FS | CLONE_NEWNS), -EINVAL);
    assert_int_equal(clone_with(shell, CLONE_NEWUSER), -EPERM);
    assert_int_equal(clone_with(shell, CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND), -EINVAL);
    assert_int_equal(clone_with(shell, 1ULL << 40), -EINVAL);
    const struct clone_args_k a = {.exit_signal = NSIGNALS + 1};
    assert_int_equal(task_clone(shell, &a, &no_regs), -EINVAL);
    assert_int_equal(kernel_task_count(), 1);
}

static void test_fork_exit_wait(void **state)
{
    (void)state;
    struct wait_result w;
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), -ECHILD);
    struct task *child = clone_ok(shell, CLONE_PARENT_SETTID | CLONE_CHILD_SETTID);
    int32_t pid = child->tid;
    assert_int_equal(pid, 3);
    assert_int_equal(child->process->pid, pid);
    assert_int_equal(written_tid[0], pid);
    assert_int_equal(process_ppid(child->process), 2);
    assert_int_equal(process_pgid_of(pid), 2);
    assert_ptr_not_equal(child->mm, shell->mm);
    assert_int_equal(process_wait(first, WAIT_FOR_PID, pid, WEXITED, &w), 0);
    assert_int_equal(process_wait(first, WAIT_FOR_PID, 99, WEXITED, &w), -ECHILD);
    assert_int_equal(process_wait(first, WAIT_FOR_PGID, 99, WEXITED, &w), -ECHILD);
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED | __WCLONE, &w), -ECHILD);
    task_exit(child, 5 << 8);
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED | WNOWAIT, &w), pid);
    assert_int_equal(process_wait(first, WAIT_FOR_PGID, 2, WEXITED, &w), pid);
    assert_int_equal(w.status, 5 << 8);
    assert_int_equal(w.code, CLD_EXITED);
    assert_int_equal(w.value, 5);
    assert_int_equal(w.uid, 1000);
    assert_int_equal(w.usage.ru_utime.tv_usec, 3000);
    assert_int_equal(first->children_usage.ru_utime.tv_usec, 3000);
    assert_null(process_find(pid));
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), -ECHILD);
}

static void test_killed_status(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *child = clone_ok(shell, 0);
    process_kill(child->process, SIGSEGV);
    assert_true(task_must_exit(child));
    task_exit(child, child->process->exit_status);
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
    assert_true(WIFSIGNALED(w.status) && WTERMSIG(w.status) == SIGSEGV);
    assert_int_equal(w.code, CLD_KILLED);
}

static void test_ignored_children_vanish(void **state)
{
    (void)state;
    struct wait_result w;
    first->sighand->action[SIGCHLD - 1].handler = (uint64_t)(uintptr_t)SIG_IGN;
    struct task *child = clone_ok(shell, 0);
    int32_t pid = child->tid;
    task_exit(child, 0);
    assert_null(process_find(pid));
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), -ECHILD);
    first->sighand->action[SIGCHLD - 1].handler = 0;
}

static void test_limit_and_wrap(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *children[20];
    unsigned n = 0;
    int64_t r;
    while ((r = clone_with(shell, 0)) > 0) {
        children[n] = task_find((int32_t)r);
        task_put(children[n++]);
    }
    assert_int_equal(r, -EAGAIN);
    assert_int_equal(n, 19); /* 20 with the first */
    for (unsigned i = 0; i < n; i++)
        task_exit(children[i], 0);
    assert_int_equal(clone_with(shell, 0), -EAGAIN); /* zombies count */
    assert_int_equal(kernel_task_count(), 20);
    for (unsigned i = 0; i < n; i++) {
        assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
    }
    int32_t last = 0;
    bool wrapped = false;
    for (unsigned i = 0; i < 33000; i++) {
        struct task *t = clone_ok(shell, 0);
        assert_true(t->tid != 1 && t->tid != 2);
        wrapped |= t->tid < last;
        last = t->tid;
        task_exit(t, 0);
        assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), last);
    }
    assert_true(wrapped);
}

static void test_failures_leave_nothing(void **state)
{
    (void)state;
    fail_fork = -EAGAIN;
    assert_int_equal(clone_with(shell, 0), -EAGAIN);
    fail_fork = 0;
    fail_thread = -EAGAIN;
    assert_int_equal(clone_with(shell, 0), -EAGAIN);
    assert_int_equal(clone_with(shell, THREAD_FLAGS), -EAGAIN);
    fail_thread = 0;
    assert_int_equal(kernel_task_count(), 1);
    assert_int_equal(first->thread_count, 1);
    assert_true(list_empty(&first->children));
}

static void test_threads_and_group_exit(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *leader = clone_ok(shell, 0);
    struct task *t1 = clone_ok(leader, THREAD_FLAGS), *t2 = clone_ok(leader, THREAD_FLAGS);
    struct process *p = leader->process;
    int32_t pid = p->pid;
    assert_ptr_equal(t1->process, p);
    assert_ptr_equal(t1->mm, leader->mm);
    assert_int_equal(p->thread_count, 3);
    struct task *next AUTO_PUT(task) = process_task_next(p, leader->tid);
    assert_ptr_equal(next, t1);
    /* the leader may go first; the process is no zombie before the last */
    task_exit(leader, 3 << 8);
    assert_null(p->leader);
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), 0);
    process_exit_group(p, 9 << 8);
    assert_int_equal(clone_with(t1, THREAD_FLAGS), -ERESTARTNOINTR);
    assert_true(task_must_exit(t1) && task_must_exit(t2));
    task_exit(t1, 0);
    task_exit(t2, 0);
    assert_int_equal(process_wait(first, WAIT_FOR_PID, pid, WEXITED, &w), pid);
    assert_int_equal(w.status, 9 << 8);
    assert_int_equal(w.usage.ru_utime.tv_usec, 9000);
}

static void test_vfork(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *child = clone_ok(shell, CLONE_VM | CLONE_VFORK);
    struct process *p AUTO_PUT(process) = process_get(child->process);
    struct mm *mm = shell->mm;
    assert_ptr_equal(child->mm, mm);
    assert_false(process_vfork_done(p));
    task_exec_commit(child, fake_mm_new(), sighand_exec(p->sighand), &no_regs, "prog");
    assert_true(process_vfork_done(p));
    assert_string_equal(child->comm, "prog");
    assert_ptr_not_equal(child->mm, mm);
    assert_int_equal(mm->refs, 1);
    assert_true(p->did_exec);
    task_exit(child, 0);
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
    child = clone_ok(shell, CLONE_VM | CLONE_VFORK);
    struct process *q AUTO_PUT(process) = process_get(child->process);
    task_exit(child, 0);
    assert_true(process_vfork_done(q));
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
}

static void test_exec_by_thread(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *leader = clone_ok(shell, 0);
    struct task *t = clone_ok(leader, THREAD_FLAGS);
    struct process *p = leader->process;
    int32_t pid = p->pid;
    assert_false(process_exec_alone(t));
    assert_true(task_must_exit(leader));
    assert_false(task_must_exit(t));
    assert_false(process_exec_alone(leader)); /* the later one loses */
    task_exit(leader, 0);
    assert_true(process_exec_alone(t));
    task_become_leader(t);
    task_exec_commit(t, fake_mm_new(), sighand_exec(p->sighand), &no_regs, "longer than fifteen");
    assert_int_equal(t->tid, pid);
    assert_ptr_equal(p->leader, t);
    assert_null(p->execing);
    assert_string_equal(t->comm, "longer than fif");
    struct task *found AUTO_PUT(task) = task_find(pid);
    assert_ptr_equal(found, t);
    task_exit(t, 0);
    assert_int_equal(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w), pid);
}

static void test_exec_without_host_thread_kills(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *child = clone_ok(shell, 0);
    fail_thread = -EAGAIN;
    task_exec_commit(child, fake_mm_new(), sighand_exec(child->process->sighand), &no_regs, "x");
    fail_thread = 0;
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
    assert_int_equal(w.status, SIGKILL);
}

static void test_reparent(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *mid = clone_ok(shell, 0);
    struct task *leaf = clone_ok(mid, 0), *dead = clone_ok(mid, 0);
    struct process *leaf_process AUTO_PUT(process) = process_get(leaf->process);
    int32_t leaf_pid = leaf->tid, dead_pid = dead->tid;
    task_exit(dead, 0);
    task_exit(mid, 0);
    assert_int_equal(process_ppid(leaf_process), 1);
    assert_null(process_find(dead_pid)); /* process 1 reaps */
    task_exit(leaf, 0);
    assert_null(process_find(leaf_pid));
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);

    first->child_subreaper = true;
    mid = clone_ok(shell, 0);
    leaf = clone_ok(mid, 0);
    leaf_pid = leaf->tid;
    leaf->pdeath_signal = SIGUSR1;
    task_exit(mid, 0);
    assert_true(signal_pending_set(leaf) & SIGBIT(SIGUSR1));
    task_exit(leaf, 1 << 8);
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
    assert_int_equal(process_wait(first, WAIT_FOR_PID, leaf_pid, WEXITED, &w), leaf_pid);
}

static void test_groups(void **state)
{
    (void)state;
    struct wait_result w;
    struct task *a = clone_ok(shell, 0), *b = clone_ok(shell, 0);
    int32_t apid = a->tid, bpid = b->tid;
    assert_int_equal(process_setpgid(first, 0, apid), -EPERM); /* session leader */
    assert_int_equal(process_setpgid(first, apid, 0), 0);
    assert_int_equal(process_pgid_of(apid), apid);
    assert_int_equal(process_setpgid(first, bpid, apid), 0);
    assert_int_equal(process_setpgid(first, bpid, 12345), -EPERM);
    assert_int_equal(process_setpgid(a->process, bpid, 0), -ESRCH); /* no child of a */
    assert_int_equal(process_setpgid(first, bpid, -1), -EINVAL);
    assert_int_equal(process_setsid(a->process), -EPERM); /* leads a group */
    assert_int_equal(process_setsid(b->process), bpid);
    assert_int_equal(process_sid_of(bpid), bpid);
    assert_int_equal(process_setpgid(first, bpid, 0), -EPERM); /* another session */
    a->process->did_exec = true;
    assert_int_equal(process_setpgid(first, apid, 0), -EACCES);
    task_exit(a, 0);
    task_exit(b, 0);
    assert_int_equal(process_wait(first, WAIT_FOR_PGID, bpid, WEXITED, &w), bpid);
    assert_int_equal(process_wait(first, WAIT_FOR_PGID, apid, WEXITED, &w), apid);
    assert_int_equal(process_pgid_of(apid), -ESRCH);
}

static void test_orphaned_stopped_group(void **state)
{
    (void)state;
    struct wait_result w;
    /* shell of a session -> job leader's parent -> stopped job in a group of its own */
    struct task *sh = clone_ok(shell, 0);
    process_setsid(sh->process);
    struct task *job = clone_ok(sh, 0);
    struct process *p AUTO_PUT(process) = process_get(job->process);
    assert_int_equal(process_setpgid(sh->process, job->tid, 0), 0);
    p->stopped = true;
    p->stop_signal = SIGTSTP;
    p->stop_unreported = true;
    assert_int_equal(process_wait(sh->process, WAIT_FOR_ANY, 0, WEXITED | WSTOPPED, &w), p->pid);
    assert_int_equal(w.status, SIGTSTP << 8 | 0x7f);
    assert_int_equal(process_wait(sh->process, WAIT_FOR_ANY, 0, WEXITED | WSTOPPED, &w), 0);
    task_exit(sh, 0);
    assert_true(signal_pending_set(job) & SIGBIT(SIGHUP));
    assert_false(p->stopped);
    task_exit(job, SIGHUP);
    assert_true(process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0);
}

static void test_cred(void **state)
{
    (void)state;
    const uint32_t groups[] = {30, 10, 20};
    struct cred *c = cred_new(1000, 5, groups, 3);
    assert_true(cred_in_group(c, 10) && cred_in_group(c, 5) && !cred_in_group(c, 11));
    assert_int_equal(c->groups[0], 10);
    assert_false(cred_capable(c, 0));
    struct cred *d = cred_dup(c);
    assert_int_equal(d->groups[2], 30);
    cred_put(c);
    cred_put(d);
    c = cred_new(0, 0, NULL, 0);
    assert_true(cred_capable(c, 0) && cred_capable(c, 21) && !cred_capable(c, 64));
    cred_put(c);
    assert_null(cred_new(1, 1, groups, NGROUPS_LIMIT + 1));
}

/* --- what lanes say --- */

static uint32_t said(const struct task *t, unsigned word)
{
    assert_int_equal(t->lane->ident.valid, 1);
    return t->lane->ident.id[word];
}

static void test_ident(void **state)
{
    (void)state;
    int64_t a = clone_with(shell, 0);
    struct task *t = task_find((int32_t)a);
    int64_t b = clone_with(t, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD);
    struct task *thread = task_find((int32_t)b);
    int64_t c = clone_with(t, CLONE_PARENT);
    struct task *sibling = task_find((int32_t)c);
    int64_t d = clone_with(thread, CLONE_VM | CLONE_VFORK);
    struct task *child = task_find((int32_t)d);

    assert_int_equal(said(t, IDENT_PID), a);
    assert_int_equal(said(t, IDENT_TID), a);
    assert_int_equal(said(t, IDENT_PPID), first->pid);
    assert_int_equal(said(t, IDENT_UID), 1000);
    assert_int_equal(said(thread, IDENT_PID), a);
    assert_int_equal(said(thread, IDENT_TID), b);
    assert_int_equal(said(sibling, IDENT_PPID), first->pid);
    assert_int_equal(said(child, IDENT_PID), d);
    assert_int_equal(said(child, IDENT_PPID), a);
    assert_int_equal(said(child, IDENT_PGID), first->pid);

    /* of one thread only */
    struct cred *n = cred_dup(thread->cred);
    n->uid = 1;
    n->euid = 2;
    n->gid = 3;
    n->egid = 4;
    task_cred_set(thread, n);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(said(thread, IDENT_UID + i), 1 + i);
    assert_int_equal(said(t, IDENT_EUID), 1000);

    /* of all threads */
    assert_int_equal(process_setpgid(first, (int32_t)a, 0), 0);
    assert_int_equal(said(t, IDENT_PGID), a);
    assert_int_equal(said(thread, IDENT_PGID), a);
    assert_int_equal(said(thread, IDENT_SID), first->pid);
    assert_int_equal(process_setsid(sibling->process), c);
    assert_int_equal(said(sibling, IDENT_SID), c);
    assert_int_equal(said(sibling, IDENT_PGID), c);

    /* counters: the guest's word, within bounds; gone with the host thread */
    uint64_t sum[LANE_LOCAL_COUNT] = {0};
    thread->lane->local[0] = 7;
    thread->lane->local[1] = UINT64_MAX;
    task_local_counts(thread, sum);
    task_local_counts(thread, sum);
    assert_int_equal(sum[0], 14);
    assert_true(sum[1] > 0 && sum[1] < 1ULL << 50);
    assert_int_equal(sum[2], 0);

    /* the parent goes */
    task_exit(thread, 0);
    task_local_counts(thread, sum);
    assert_int_equal(sum[0], 14);
    assert_int_equal(said(child, IDENT_PPID), a);
    task_exit(t, 0);
    assert_int_equal(said(child, IDENT_PPID), process_init()->pid);
    task_exit(child, 0);
    task_exit(sibling, 0);
    struct wait_result w;
    while (process_wait(first, WAIT_FOR_ANY, 0, WEXITED, &w) > 0)
        ;
    task_put(t);
    task_put(thread);
    task_put(sibling);
    task_put(child);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_first),
        TEST(test_clone_flags),
        TEST(test_fork_exit_wait),
        TEST(test_killed_status),
        TEST(test_ignored_children_vanish),
        TEST(test_limit_and_wrap),
        TEST(test_failures_leave_nothing),
        TEST(test_threads_and_group_exit),
        TEST(test_vfork),
        TEST(test_exec_by_thread),
        TEST(test_exec_without_host_thread_kills),
        TEST(test_reparent),
        TEST(test_groups),
        TEST(test_orphaned_stopped_group),
        TEST(test_cred),
        TEST(test_ident),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
