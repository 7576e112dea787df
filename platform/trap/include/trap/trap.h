/* SPDX-License-Identifier: Apache-2.0
 * trap.h - the trap platform: seccomp RET_TRAP reaches a signal handler that posts to the lane; a
 * mapper thread in each stub process is driven by seccomp user notification. */
#ifndef TRAP_TRAP_H
#define TRAP_TRAP_H

#include <stdint.h>

#include <base/platform.h>

struct ring_poller_word;

const struct platform_ops *trap_platform(void);

/* What init() does while its first process starts, which takes a millisecond; or NULL. */
extern void (*trap_meanwhile)(void);

/* RO_POLLERS words in the page that stubs map read-only; valid after init(). */
struct ring_poller_word *trap_poller_words(void);

/**
 * trap_set_ids - ids that template and stubs take for good; call before init() when the Sentry
 * will change its own later (it can only signal processes of its uid).
 */
void trap_set_ids(uint32_t uid, uint32_t gid);

#endif
