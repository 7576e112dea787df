/* SPDX-License-Identifier: Apache-2.0
 * proc.h - what the files of proc share. */
#ifndef FS_PROC_H
#define FS_PROC_H

#include <kernel/itimer.h>
#include <kernel/task.h>

#include "pseudo.h"

struct fdtable;
struct fs_struct;

#define NSEC_PER_TICK 10000000LL /* USER_HZ is 100 */

extern const struct pseudo_node proc_pid_node, proc_tid_node; /* directory of a process, thread */
extern const struct pseudo_node proc_sys_nodes[], proc_net_nodes[];

/* proc_fd.c: the dynamic directories fd, fdinfo (which has the same numbers) and task. */
struct inode *proc_fd_lookup(struct inode *dir, const char *name, size_t len);
struct inode *proc_fdinfo_lookup(struct inode *dir, const char *name, size_t len);
int proc_fd_emit(struct getdents_ctx *ctx, const struct pseudo_key *k);
struct inode *proc_task_lookup(struct inode *dir, const char *name, size_t len);
int proc_task_emit(struct getdents_ctx *ctx, const struct pseudo_key *k);

/* The thread a key names: its tid, else the leader, else any thread. NULL: none (zombie, gone). */
struct task *proc_task(const struct pseudo_key *k);
/* The process, zombies included, if it is still the same. NULL: gone. */
struct process *proc_process(const struct pseudo_key *k);
/* Key of a process's directory; false when there is no such process. */
bool proc_key_fill(int32_t pid, struct pseudo_key *ret);
/* May the calling task look into @t (memory, descriptors)? 0, -EACCES. */
int proc_may_inspect(struct task *t);
/* References to another task's, or NULL. */
struct fdtable *proc_fdtable(struct task *t);
struct fs_struct *proc_fs(struct task *t);

/* For CLEANUP(). */
static inline void proc_cred_put(struct cred **c)
{
    if (*c)
        cred_put(*c);
}

/* proc_host.c */
int proc_show_cpuinfo(struct text *t, const struct pseudo_key *k);
int proc_show_meminfo(struct text *t, const struct pseudo_key *k);
int proc_show_stat(struct text *t, const struct pseudo_key *k);
int proc_show_uptime(struct text *t, const struct pseudo_key *k);
int proc_show_loadavg(struct text *t, const struct pseudo_key *k);
int proc_show_version(struct text *t, const struct pseudo_key *k);
int proc_show_filesystems(struct text *t, const struct pseudo_key *k);
int proc_show_osrelease(struct text *t, const struct pseudo_key *k);
int proc_show_vmstat(struct text *t, const struct pseudo_key *k);
/* CPUs that guests see. */
unsigned proc_cpus(void);
/* Where a CPU is, as the host numbers cores and packages; without a word from the host each CPU is
 * a core of one package. */
struct cpu_place {
    unsigned package, core, apic;
};
struct cpu_place proc_cpu_place(unsigned cpu);
/* Memory that the sandbox has and uses; used <= total. */
void proc_memory_kb(uint64_t *ret_total, uint64_t *ret_used);

/* cpus.c: "0-3,7" and "8f", with newline, of the CPUs that guests see. */
extern const struct pseudo_node sysfs_system_nodes[];
void proc_cpu_list(struct text *t, const uint64_t mask[TASK_CPU_WORDS]);
void proc_cpu_map(struct text *t, const uint64_t mask[TASK_CPU_WORDS]);

/* proc_status.c, proc_maps.c, proc_pid.c */
int proc_show_pid_stat(struct text *t, const struct pseudo_key *k);
int proc_show_tid_stat(struct text *t, const struct pseudo_key *k);
int proc_show_statm(struct text *t, const struct pseudo_key *k);
int proc_show_status(struct text *t, const struct pseudo_key *k);
int proc_show_maps(struct text *t, const struct pseudo_key *k);
int proc_show_smaps(struct text *t, const struct pseudo_key *k);
int proc_show_smaps_rollup(struct text *t, const struct pseudo_key *k);

#endif
