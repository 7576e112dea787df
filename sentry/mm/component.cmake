# SPDX-License-Identifier: Apache-2.0
add_component(mm sentry/mm USES abi ring base host SOURCES
    advise.c barrier.c cow.c fault.c filemap.c fork.c fwindow.c life.c map.c memref.c ops.c pool.c
    present.c protect.c rtree.c remap.c rmap.c seg.c shm.c sigbus.c stats.c text.c textcache.c textyield.c
    uaccess.c uaccess_copy.S uio.c
    vma.c)
