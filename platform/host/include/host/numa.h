/* SPDX-License-Identifier: Apache-2.0
 * numa.h - memory near the CPU that polls it, on hosts with more than one node. */
#ifndef HOST_NUMA_H
#define HOST_NUMA_H

#include <stddef.h>

/**
 * numa_init - before confinement. Loads libnuma only where the host has a second node, so that other
 * hosts do not pay for its start. Return: number of nodes seen, at least 1.
 */
int numa_init(void);

/**
 * numa_place_near - let the pages of [addr, addr+len) that have not been touched come from the node
 * of @cpu. A hint: nothing happens on one node, for cpu < 0, or where the host refuses.
 * Context: any thread.
 */
void numa_place_near(void *addr, size_t len, int cpu);

#endif
