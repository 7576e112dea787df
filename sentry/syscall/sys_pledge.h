/* SPDX-License-Identifier: Apache-2.0
 * sys_pledge.h - what handlers ask of a process's promises. */
#ifndef SYSCALL_SYS_PLEDGE_H
#define SYSCALL_SYS_PLEDGE_H

#include <kernel/pledge.h>
#include <syscall/sys.h>

/* All of these are needed to open with @flags, to clone with @flags, for sockets of @domain. */
uint32_t promises_of_open(uint32_t flags);
uint32_t promises_of_clone(uint64_t flags);
uint32_t promises_of_family(int domain);

/* Of promises.def: what the call needs because of its registers. */
#define PROMISES(n, set)
#define PROMISES_IN(n, set, words)
#define PROMISES_BY(n, set, by, words) uint32_t promises_by_##by(struct call *c);
#include "promises.def"
#undef PROMISES
#undef PROMISES_IN
#undef PROMISES_BY

#endif
