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
#define EXEC_ARGS_MAX 100000u

/* Build mm, stack and start registers for @path. The caller commits. -ENOENT, -EACCES, -ENOEXEC,
 * -ELIBBAD, -E2BIG, -ENOMEM. @t: for path lookup and credentials (boot passes a template task). */
int exec_load(struct task *t, int dirfd, const char *path, unsigned lookup_flags,
              struct exec_args *args, struct mm **ret_mm, struct pf_regs *ret_regs,
              char ret_comm[TASK_COMM_LEN]);
/* execve of the calling task: kills the other threads, replaces mm, signals, descriptors. */
sysret_t exec_task(struct call *c, int dirfd, const char *path, unsigned lookup_flags,
                   struct exec_args *args);

#endif
