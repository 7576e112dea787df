/* SPDX-License-Identifier: Apache-2.0
 * list.c - memory operations as the system calls that a mapper executes.
 *
 * Nothing here can reach the stub's own pages: a range lies below them, or among the rings. */
#include <stubs/stubs.h>

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static bool range_ok(const struct pf_memop *o)
{
    uint64_t end;

    if (o->op == PF_SYNC)
        return true;
    if (__builtin_add_overflow(o->addr, o->len, &end))
        return false;
    return end <= STUB_REGION || (o->addr >= STUB_RINGS && end <= STUB_REGION_END);
}

int list_host_fd(int slot)
{
    return slot == PF_FD_MEMFILE ? g_stubs.memfd : slot - 1;
}

int list_translate(const struct pf_memop *o, struct stub_op *ret)
{
    uint64_t prot = (uint64_t)(uint32_t)o->prot;

    if (!range_ok(o) || (prot & ~(uint64_t)(PROT_READ | PROT_WRITE | PROT_EXEC)))
        return -EINVAL;
    switch ((enum pf_op)o->op) {
    case PF_MAP:
        if (o->fd < 0)
            return -EBADF;
        *ret = (struct stub_op){
            SYS_mmap,
            {o->addr, o->len, prot,
             MAP_SHARED | MAP_FIXED | (o->flags & PF_MAP_POPULATE ? (uint64_t)MAP_POPULATE : 0),
             (uint64_t)list_host_fd(o->fd), o->off},
            STUB_CTL_STRICT};
        return 0;
    case PF_UNMAP:
        *ret = (struct stub_op){SYS_munmap, {o->addr, o->len}, STUB_CTL_STRICT};
        return 0;
    case PF_PROTECT:
        *ret = (struct stub_op){SYS_mprotect, {o->addr, o->len, prot}, STUB_CTL_STRICT};
        return 0;
    case PF_POPULATE:
        *ret = (struct stub_op){
            SYS_madvise,
            {o->addr, o->len, prot & PROT_WRITE ? MADV_POPULATE_WRITE : MADV_POPULATE_READ},
            STUB_CTL_LAX};
        return 0;
    case PF_ADVISE:
        *ret = (struct stub_op){SYS_madvise, {o->addr, o->len, o->off}, STUB_CTL_STRICT};
        return 0;
    case PF_SYNC:
        *ret = (struct stub_op){
            SYS_membarrier, {MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE}, STUB_CTL_STRICT};
        return 0;
    }
    return -EINVAL;
}
