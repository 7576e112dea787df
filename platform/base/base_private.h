/* SPDX-License-Identifier: Apache-2.0
 * base_private.h - shared by lock.c and fiber.c. */
#ifndef BASE_PRIVATE_H
#define BASE_PRIVATE_H

#include <base/fiber.h>
#include <base/list.h>
#include <base/lock.h>

#define FIBER_HELD_MAX 8

enum fiber_token { FIBER_RUNNING, FIBER_TOKEN, FIBER_PARKED };

struct fiber {
    struct list_head link;     /* ready, inbox or free list of its scheduler */
    struct fiber_sched *sched; /* NULL: stands for a plain thread */
    _Atomic(uint32_t) token;   /* enum fiber_token; futex word of plain threads */
    void *sp;
    void *stack;
    size_t stack_size;
    void *local;
    void *tsan, *asan_fake;
    /* lock ranks of the fiber mutexes held, RINGBOX_LOCKDEP only */
    uint16_t held[FIBER_HELD_MAX];
    uint32_t held_count;
};

void lockdep_spin_acquire(uint16_t rank);
void lockdep_spin_release(uint16_t rank);
void lockdep_no_spin(void); /* the caller is about to park */

#endif
