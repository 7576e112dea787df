/* SPDX-License-Identifier: Apache-2.0
 * exec.h - program loading: binary formats to a new address space. */
#ifndef SYSCALL_EXEC_H
#define SYSCALL_EXEC_H

#include <kernel/task.h>

struct exec_args {
    char *strings; /* argv then envp, NUL-terminated, packed; owned */
    size_t strings_len;
    uint32_t argc, envc;
};
#define EXEC_STRINGS_MAX (2u << 20) /* argv + envp bytes, as Linux' default stack / 4 */
#define EXEC_ARGS_MAX 262144u /* with their pointers they never fit 1/4 of the default stack */

#define EXEC_SCRIPT_DEPTH 5          /* "#!" that name a "#!" file */
#define EXEC_STRING_MAX (128u << 10) /* one argument, with its NUL */

/* What the auxiliary vector tells of the processor, from the Sentry's own; once, at boot. */
void exec_capture_host(void);

/* Copy argv and envp in. 0, -EFAULT, -E2BIG, -ENOMEM; the caller frees ret->strings. */
int exec_args_copy_in(struct mm *mm, uaddr_t argv, uaddr_t envp, struct exec_args *ret);

/* Build mm, stack and start registers for @path. The caller commits. -ENOENT, -EACCES, -ENOEXEC,
 * -ELIBBAD, -E2BIG, -ENOMEM. @t: for path lookup and credentials (boot passes a template task).
 * A script replaces args->strings. May park. */
int exec_load(struct task *t, int dirfd, const char *path, unsigned lookup_flags,
              struct exec_args *args, struct mm **ret_mm, struct pf_regs *ret_regs,
              char ret_comm[TASK_COMM_LEN]);
/* execve of the calling task: kills the other threads, replaces mm, signals, descriptors. */
sysret_t exec_task(struct call *c, int dirfd, const char *path, unsigned lookup_flags,
                   struct exec_args *args);
/* The calling task's descriptor table, alone; others may look at t->fds meanwhile. 0, -ENOMEM. */
int task_unshare_fds(struct task *t);
/* A re-run: loaded, waits for the other threads to leave. */
sysret_t exec_task_again(struct call *c);

#endif
