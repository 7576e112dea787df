/* SPDX-License-Identifier: Apache-2.0
 * sysfs.c - the little of /sys that programs read: CPUs (cpus.c), huge pages, and empty lists of
 * devices. Constant; no locks. */
#include <linux/magic.h>

#include "proc.h"

static const struct pseudo_node devices_nodes[] = {
    PSEUDO_DIR("system", sysfs_system_nodes),
    PSEUDO_END,
};

static const struct pseudo_node thp_nodes[] = {
    PSEUDO_TEXT("enabled", "always [madvise] never\n"),
    PSEUDO_TEXT("defrag", "always defer defer+madvise [madvise] never\n"),
    PSEUDO_TEXT("hpage_pmd_size", "2097152\n"),
    PSEUDO_TEXT("shmem_enabled", "always within_size advise [never] deny force\n"),
    PSEUDO_END,
};

static const struct pseudo_node mm_nodes[] = {
    PSEUDO_DIR("transparent_hugepage", thp_nodes),
    PSEUDO_END,
};

static const struct pseudo_node kernel_nodes[] = {
    PSEUDO_DIR("mm", mm_nodes),
    PSEUDO_END,
};

static const struct pseudo_node empty_nodes[] = {PSEUDO_END};

static const struct pseudo_node fs_nodes[] = {
    PSEUDO_DIR("cgroup", empty_nodes),
    PSEUDO_END,
};

static const struct pseudo_node class_nodes[] = {
    PSEUDO_DIR("net", empty_nodes),
    PSEUDO_DIR("block", empty_nodes),
    PSEUDO_END,
};

static const struct pseudo_node root_nodes[] = {
    PSEUDO_DIR("devices", devices_nodes),
    PSEUDO_DIR("kernel", kernel_nodes),
    PSEUDO_DIR("fs", fs_nodes),
    PSEUDO_DIR("class", class_nodes),
    PSEUDO_DIR("block", empty_nodes),
    PSEUDO_DIR("module", empty_nodes),
    PSEUDO_END,
};

static const struct pseudo_node root_node = PSEUDO_DIR("/", root_nodes);

struct superblock *sysfs_new(void)
{
    return pseudo_superblock("sysfs", SYSFS_MAGIC, true, &root_node);
}
