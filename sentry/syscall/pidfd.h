/* SPDX-License-Identifier: Apache-2.0
 * pidfd.h - descriptors that name a process. */
#ifndef SYSCALL_PIDFD_H
#define SYSCALL_PIDFD_H

#include <kernel/task.h>
#include <vfs/file.h>

/* @p: reference taken over, or NULL until pidfd_bind(). ERR_PTR(-ENOMEM, -ENFILE). */
struct file *pidfd_new(struct process *p, uint32_t flags);
/* Takes over the reference. Once. */
void pidfd_bind(struct file *f, struct process *p);
/* pid behind descriptor @fd of @t. -EBADF: none, or another kind; -ESRCH: not bound. */
int32_t pidfd_pid(struct task *t, int fd);

#endif
