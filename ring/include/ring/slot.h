/* SPDX-License-Identifier: Apache-2.0
 * slot.h - the Sentry's end of a call or event slot: copy once, reply, wake.
 *
 * The guest may write a slot at any time, also while it is being copied or after it was posted. So
 * every word is read exactly once and only the copy is used; a torn copy is one that the guest
 * could have posted on purpose. Freestanding.
 */
#ifndef RING_SLOT_H
#define RING_SLOT_H

#include <stdbool.h>

#include <ring/abi.h>
#include <ring/barrier.h>

/**
 * slot_copy - take the message out of a slot.
 * @to: private copy; its state is what the slot's state was (SLOT_FREE: nothing there)
 * @from: shared with the guest
 */
static inline void slot_copy(struct lane_slot *to, const struct lane_slot *from)
{
    const volatile uint64_t *arg = from->arg;

    /* pairs with the poster's store of state, which follows its other words (x86: in order) */
    ring_store_relaxed(&to->state, ring_load_acquire(&from->state));
    to->nr = *(const volatile uint32_t *)&from->nr;
    for (unsigned i = 0; i < 6; i++)
        to->arg[i] = arg[i];
    to->aux = ring_read64(&from->aux);
}

/**
 * slot_take_call - take a posted call: its arguments go straight to where the call wants them.
 * @from: shared with the guest; its state has been seen POSTED with acquire
 * Return: the call number.
 */
static inline void slot_take_args(const struct lane_slot *from, uint64_t ret_args[6])
{
    for (unsigned i = 0; i < 6; i++)
        ret_args[i] = ring_read64(&from->arg[i]);
}

static inline uint32_t slot_take_call(const struct lane_slot *from, uint64_t ret_args[6])
{
    slot_take_args(from, ret_args);
    return *(const volatile uint32_t *)&from->nr;
}

/**
 * slot_release - hand the slot, reply words written, back to the guest.
 * @parked: the guest's word that says it is about to sleep on this slot's state
 * Return: true when the caller must slot_wake() it.
 */
static inline bool slot_release(struct lane_slot *s, const _Atomic(uint32_t) *parked)
{
    ring_store_release(&s->state, SLOT_FREE);
    ring_full_fence(); /* pairs with the mfence between parked = 1 and the re-check in the stub */
    return ring_load_relaxed(parked) != 0;
}

/* Answer with one result word. Who has parked is to be woken: the caller looks, after a full fence. */
static inline void slot_publish(struct lane_slot *s, uint32_t nr, uint64_t val)
{
    *(volatile uint64_t *)&s->arg[0] = val;
    *(volatile uint32_t *)&s->nr = nr;
    ring_store_release(&s->state, SLOT_FREE);
}

/**
 * slot_reply - answer with one result word.
 * @nr: CALL_* (call slot) or EVENT_* (event slot)
 * Return: true when the caller must slot_wake() it.
 */
static inline bool slot_reply(struct lane_slot *s, const _Atomic(uint32_t) *parked, uint32_t nr,
                              uint64_t val)
{
    *(volatile uint64_t *)&s->arg[0] = val;
    *(volatile uint32_t *)&s->nr = nr;
    return slot_release(s, parked);
}

/* FUTEX_WAKE of one waiter on a word that two processes share. Return: woken, or -errno. */
static inline long ring_futex_wake(const _Atomic(uint32_t) *word)
{
    register long r10 __asm__("r10") = 0;
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(202L /* futex */), "D"(word), "S"(1L /* FUTEX_WAKE */), "d"(1L), "r"(r10)
                     : "rcx", "r11", "memory");
    return r;
}

static inline void slot_wake(struct lane_slot *s)
{
    (void)ring_futex_wake(&s->state);
}

#endif
