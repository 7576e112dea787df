/* SPDX-License-Identifier: Apache-2.0
 * task_internal.h - the pid table and object life as the files of the task code share them. */
#ifndef KERNEL_TASK_INTERNAL_H
#define KERNEL_TASK_INTERNAL_H

#include <kernel/task.h>

/* --- pids.c; all with g_pids held --- */

int pids_init(uint32_t task_max);
/* A free number with one hold. -EAGAIN: task_max tasks exist, or no number is free. */
int32_t pid_alloc_locked(void);
/* A number is in use as long as somebody (task, process, group, session) holds it. */
void pid_hold_locked(int32_t pid);
void pid_drop_locked(int32_t pid);

/* Enter takes over a reference and the caller's hold on the number; remove gives the reference to
 * the caller and drops the hold. */
void pids_enter_process_locked(struct process *p);
void pids_remove_process_locked(struct process *p);
void pids_enter_task_locked(struct task *t);
void pids_remove_task_locked(struct task *t);
/* Processes without threads count as one task, until reaped. */
void pids_zombies_locked(int32_t more);
struct process *pids_process_locked(int32_t pid);

/* --- pgroup.c; with g_pids held --- */

struct pgroup *pgroup_find_locked(int32_t pgid);
struct pgroup *pgroup_new(int32_t pgid, int32_t sid); /* no lock; unhashed, no members */
/* Member of @g now (of none: NULL). The first member hashes it, the last one leaving frees it. */
void pgroup_move_locked(struct process *p, struct pgroup *g);
/* Would @g be orphaned if @ignored were no member and nobody's parent? */
bool pgroup_orphaned_locked(struct pgroup *g, const struct process *ignored);
bool pgroup_has_stopped_locked(struct pgroup *g);

/* --- task.c --- */

struct process *process_new(struct process *like); /* one reference, in no table; NULL no memory */
struct task *task_new(struct process *p, const struct task *like); /* takes a process reference */

/* The sandbox's command: borrowed, set at boot, compared only. */
extern struct process *g_first_process;

/* --- exit.c --- */

/* It looks at no name any more. May park. */
void process_unveil_drop(struct process *p);

/* --- clone.c --- */

/* Release descriptors, fs and mm, those that are there. May park. */
void task_drop_resources(struct task *t);
/* Attach to a poller; what was sent to the task before that is looked at now. */
int task_start(struct task *t, struct task *near);

/* --- ident.c --- */

/* With g_pids held: parent, group or session have changed. Takes process->lock. */
void process_ident_update_locked(struct process *p);
/* With process->lock held: the credentials have changed. */
void task_ident_cred_locked(struct task *t);
/* The lane of a starting task tells from now on what the task is. */
void task_ident_publish(struct task *t);

/* --- reap.c --- */

/* A zombie goes: out of table, group and tree, its times to the parent; reference dropped by the
 * caller after unlocking. */
void process_reap_locked(struct process *p);
/* After it, unlocked: tells who has something of its; takes the reference. May park. */
void process_reaped(struct process *p);
/* Tell the parent of a zombie. true: nobody will wait for it, reap it. */
bool process_notify_exit_locked(struct process *p);

#endif
