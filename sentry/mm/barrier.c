/* SPDX-License-Identifier: Apache-2.0
 * barrier.c - membarrier for one address space: the backend makes every thread of the host process
 * pass a barrier (PF_SYNC). As on Linux, the process must have registered its intent. */
#include "mm_internal.h"

void mm_barrier_register(struct mm *mm, uint32_t kinds)
{
    mm_lock(mm);
    mm->barriers |= kinds;
    mm_unlock(mm);
}

int mm_barrier(struct mm *mm, uint32_t kind)
{
    int r = mm_lock_change(mm);
    if (r < 0)
        return r;
    r = -EPERM;
    if (mm->barriers & kind) {
        ops_add(mm, PF_SYNC, 0, 0, 0, 0);
        r = ops_run(mm);
    }
    mm_unlock(mm);
    return r;
}

uint64_t mm_locked_bytes(struct mm *mm)
{
    mm_lock(mm);
    uint64_t n = mm->locked;
    mm_unlock(mm);
    return n;
}
