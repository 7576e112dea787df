/* SPDX-License-Identifier: Apache-2.0
 * numa.c - placement through libnuma, loaded on demand.
 *
 * Its constructor reads a dozen files of /sys at every start, which is more than the start of a sandbox
 * may cost where there is nothing to place; hence dlopen and not a linked library.
 *
 * Host: mbind [sentry] */
#include <dlfcn.h>
#include <numaif.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/log.h>
#include <host/numa.h>

#define NODES_MAX 1024
#define SECOND_NODE "/sys/devices/system/node/node1"

static struct {
    int nodes;
    int (*node_of_cpu)(int cpu);
    long (*bind)(void *start, unsigned long len, int mode, const unsigned long *mask,
                 unsigned long maxnode, unsigned flags);
} g_numa = {.nodes = 1};

int numa_init(void)
{
    if (access(SECOND_NODE, F_OK))
        return 1;
    void *lib = dlopen("libnuma.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!lib) {
        log_info("host", "several NUMA nodes but no libnuma: memory is not placed");
        return 1;
    }
    int (*available)(void), (*max_node)(void);
    *(void **)&available = dlsym(lib, "numa_available"); /* POSIX' way from object to function */
    *(void **)&max_node = dlsym(lib, "numa_max_node");
    *(void **)&g_numa.node_of_cpu = dlsym(lib, "numa_node_of_cpu");
    *(void **)&g_numa.bind = dlsym(lib, "mbind");
    if (available && max_node && g_numa.node_of_cpu && g_numa.bind && available() >= 0)
        g_numa.nodes = max_node() + 1;
    return g_numa.nodes;
}

void numa_place_near(void *addr, size_t len, int cpu)
{
    unsigned long mask[NODES_MAX / (8 * sizeof(unsigned long))] = {0};
    const unsigned bits = 8 * sizeof(unsigned long);

    if (likely(g_numa.nodes <= 1) || cpu < 0)
        return;
    int node = g_numa.node_of_cpu(cpu);
    if (node < 0 || node >= NODES_MAX)
        return;
    mask[(unsigned)node / bits] = 1UL << ((unsigned)node % bits);
    if (g_numa.bind(addr, len, MPOL_PREFERRED, mask, NODES_MAX, 0))
        log_debug("host", "memory not placed on node=%d", node);
}
