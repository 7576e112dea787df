/* SPDX-License-Identifier: Apache-2.0
 * cpus.c - /sys/devices/system: which CPUs there are, which of them are one core, one package, and
 * what caches they share. Thread pools, OpenMP, hwloc and numerical libraries size themselves by it.
 *
 * Cores and packages are what the host's cpuinfo says (proc_host.c). Caches are what CPUID says
 * on the CPU where a file is read; guests can execute it themselves, so nothing new is told. One
 * CPU's caches are taken for all, which is wrong on machines with two kinds of cores.
 * Memory is one node: the memory file is not placed.
 *
 * Constant after boot: no locks. */
#include <cpuid.h>
#include <stdio.h>

#include "proc.h"

#define CPUID_CACHES_INTEL 4
#define CPUID_CACHES_AMD 0x8000001du
#define CPUID_AMD_FEATURES 0x80000001u
#define CPUID_AMD_TOPOEXT (1u << 22)
#define CACHES_MAX 8 /* of one CPU */

/* Which CPUs belong to a set; of those that guests see. */
typedef bool in_set(unsigned cpu, const struct pseudo_key *k);

static void set_mask(uint64_t mask[TASK_CPU_WORDS], in_set *in, const struct pseudo_key *k)
{
    memset(mask, 0, TASK_CPU_WORDS * sizeof(*mask));
    for (unsigned i = 0, n = proc_cpus(); i < n; i++)
        mask[i / 64] |= (uint64_t)in(i, k) << i % 64;
}

static bool in_mask(const uint64_t *mask, unsigned cpu)
{
    return mask[cpu / 64] >> cpu % 64 & 1;
}

void proc_cpu_list(struct text *t, const uint64_t mask[TASK_CPU_WORDS])
{
    unsigned n = proc_cpus();
    const char *comma = "";

    for (unsigned i = 0; i < n; i++) {
        unsigned first = i;
        if (!in_mask(mask, i))
            continue;
        while (i + 1 < n && in_mask(mask, i + 1))
            i++;
        text_printf(t, "%s%u", comma, first);
        if (i > first)
            text_printf(t, "-%u", i);
        comma = ",";
    }
    text_printf(t, "\n");
}

void proc_cpu_map(struct text *t, const uint64_t mask[TASK_CPU_WORDS])
{
    unsigned n = proc_cpus();

    for (unsigned word = (n + 31) / 32; word--;)
        text_printf(t, "%0*x%s", (int)(MIN(n - word * 32, 32u) + 3) / 4,
                    (uint32_t)(mask[word / 2] >> word % 2 * 32), word ? "," : "\n");
}

static bool in_all(unsigned cpu UNUSED, const struct pseudo_key *k UNUSED)
{
    return true;
}

static bool in_package(unsigned cpu, const struct pseudo_key *k)
{
    return proc_cpu_place(cpu).package == proc_cpu_place((unsigned)k->cpu).package;
}

static bool in_core(unsigned cpu, const struct pseudo_key *k)
{
    return in_package(cpu, k) && proc_cpu_place(cpu).core == proc_cpu_place((unsigned)k->cpu).core;
}

#define SHOW_SET(name, in)                                                    \
    static int show_##name##_list(struct text *t, const struct pseudo_key *k) \
    {                                                                         \
        uint64_t mask[TASK_CPU_WORDS];                                        \
        set_mask(mask, in, k);                                                \
        proc_cpu_list(t, mask);                                               \
        return 0;                                                             \
    }                                                                         \
    static int show_##name##_map(struct text *t, const struct pseudo_key *k)  \
    {                                                                         \
        uint64_t mask[TASK_CPU_WORDS];                                        \
        set_mask(mask, in, k);                                                \
        proc_cpu_map(t, mask);                                                \
        return 0;                                                             \
    }

SHOW_SET(cpus, in_all)
SHOW_SET(core, in_core)
SHOW_SET(package, in_package)

static int show_core_id(struct text *t, const struct pseudo_key *k)
{
    text_printf(t, "%u\n", proc_cpu_place((unsigned)k->cpu).core);
    return 0;
}

static int show_package_id(struct text *t, const struct pseudo_key *k)
{
    text_printf(t, "%u\n", proc_cpu_place((unsigned)k->cpu).package);
    return 0;
}

static const struct pseudo_node topology_nodes[] = {
    PSEUDO_FILE("core_id", show_core_id),
    PSEUDO_FILE("physical_package_id", show_package_id),
    PSEUDO_FILE("core_cpus", show_core_map),
    PSEUDO_FILE("core_cpus_list", show_core_list),
    PSEUDO_FILE("thread_siblings", show_core_map),
    PSEUDO_FILE("thread_siblings_list", show_core_list),
    PSEUDO_FILE("package_cpus", show_package_map),
    PSEUDO_FILE("package_cpus_list", show_package_list),
    PSEUDO_FILE("core_siblings", show_package_map),
    PSEUDO_FILE("core_siblings_list", show_package_list),
    PSEUDO_END,
};

/* --- caches --- */

struct cache {
    unsigned type; /* 1 data, 2 instruction, 3 both */
    unsigned level, line, partitions, ways, sets;
    unsigned sharing_shift; /* CPUs whose APIC numbers are equal above it share the cache */
};

/* Cache @n of the CPU that runs this; false: there are not so many. */
static bool cache_get(unsigned n, struct cache *ret)
{
    unsigned a, b, c, d, leaf = CPUID_CACHES_INTEL;

    if (n >= CACHES_MAX)
        return false;
    if (__get_cpuid(CPUID_AMD_FEATURES, &a, &b, &c, &d) && (c & CPUID_AMD_TOPOEXT))
        leaf = CPUID_CACHES_AMD;
    if (!__get_cpuid_count(leaf, n, &a, &b, &c, &d) || !(a & 31))
        return false;
    unsigned sharing = (a >> 14 & 0xfff) + 1;
    *ret = (struct cache){.type = a & 31,
                          .level = a >> 5 & 7,
                          .line = (b & 0xfff) + 1,
                          .partitions = (b >> 12 & 0x3ff) + 1,
                          .ways = (b >> 22) + 1,
                          .sets = c + 1};
    while (1u << ret->sharing_shift < sharing)
        ret->sharing_shift++;
    return true;
}

/* The CPUs that share the cache of @k. */
static void cache_mask(uint64_t mask[TASK_CPU_WORDS], const struct cache *c,
                       const struct pseudo_key *k)
{
    unsigned group = proc_cpu_place((unsigned)k->cpu).apic >> c->sharing_shift;

    memset(mask, 0, TASK_CPU_WORDS * sizeof(*mask));
    for (unsigned i = 0, n = proc_cpus(); i < n; i++)
        mask[i / 64] |= (uint64_t)(proc_cpu_place(i).apic >> c->sharing_shift == group) << i % 64;
}

/* CPUID is dear in a virtual machine: once a file. */
#define SHOW_CACHE(name, statement)                                          \
    static int show_cache_##name(struct text *t, const struct pseudo_key *k) \
    {                                                                        \
        struct cache c;                                                      \
        if (!cache_get((unsigned)k->cache, &c))                              \
            return -ENODEV;                                                  \
        statement;                                                           \
        return 0;                                                            \
    }

SHOW_CACHE(level, text_printf(t, "%u\n", c.level))
SHOW_CACHE(line, text_printf(t, "%u\n", c.line))
SHOW_CACHE(partitions, text_printf(t, "%u\n", c.partitions))
SHOW_CACHE(ways, text_printf(t, "%u\n", c.ways))
SHOW_CACHE(sets, text_printf(t, "%u\n", c.sets))
SHOW_CACHE(id, text_printf(t, "%u\n", proc_cpu_place((unsigned)k->cpu).apic >> c.sharing_shift))
SHOW_CACHE(type, text_printf(t, "%s\n",
                             c.type == 1   ? "Data"
                             : c.type == 2 ? "Instruction"
                                           : "Unified"))
SHOW_CACHE(size, text_printf(t, "%lluK\n", 1ULL * c.line * c.partitions * c.ways * c.sets / 1024))

static void show_shared(struct text *t, const struct cache *c, const struct pseudo_key *k,
                        void (*show)(struct text *t, const uint64_t *mask))
{
    uint64_t mask[TASK_CPU_WORDS];

    cache_mask(mask, c, k);
    show(t, mask);
}

SHOW_CACHE(list, show_shared(t, &c, k, proc_cpu_list))
SHOW_CACHE(map, show_shared(t, &c, k, proc_cpu_map))

static const struct pseudo_node index_nodes[] = {
    PSEUDO_FILE("coherency_line_size", show_cache_line),
    PSEUDO_FILE("id", show_cache_id),
    PSEUDO_FILE("level", show_cache_level),
    PSEUDO_FILE("number_of_sets", show_cache_sets),
    PSEUDO_FILE("physical_line_partition", show_cache_partitions),
    PSEUDO_FILE("shared_cpu_list", show_cache_list),
    PSEUDO_FILE("shared_cpu_map", show_cache_map),
    PSEUDO_FILE("size", show_cache_size),
    PSEUDO_FILE("type", show_cache_type),
    PSEUDO_FILE("ways_of_associativity", show_cache_ways),
    PSEUDO_END,
};

/* --- directories with numbers in their names --- */

static int32_t numbered(const char *prefix, const char *name, size_t len)
{
    size_t n = strlen(prefix);

    return len > n && !memcmp(name, prefix, n) ? pseudo_number(name + n, len - n) : -1;
}

/* Emits @prefix0 to @prefix(@end - 1) from where @ctx stands. */
static int emit_numbered(struct getdents_ctx *ctx, const char *prefix, unsigned end)
{
    for (int64_t i = ctx->pos - PSEUDO_DYNAMIC; i < end; i++) {
        char name[32];
        int n = snprintf(name, sizeof(name), "%s%lld", prefix, (long long)i);
        if (!getdents_emit(ctx, name, (size_t)n, (uint64_t)i + PSEUDO_DYNAMIC, 4 /* DT_DIR */,
                           PSEUDO_DYNAMIC + i + 1))
            return 0;
    }
    return 0;
}

static const struct pseudo_node index_node = PSEUDO_DIR("", index_nodes);

static struct inode *cache_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k = *pseudo_key(dir);
    struct cache c;

    k.cache = numbered("index", name, len);
    if (k.cache < 0 || !cache_get((unsigned)k.cache, &c))
        return ERR_PTR(-ENOENT);
    return pseudo_inode(dir->sb, &index_node, &k);
}

static int cache_emit(struct getdents_ctx *ctx, const struct pseudo_key *k UNUSED)
{
    struct cache c;
    unsigned n = 0;

    while (cache_get(n, &c))
        n++;
    return emit_numbered(ctx, "index", n);
}

static const struct pseudo_node cpu_dir_nodes[] = {
    PSEUDO_DIR("topology", topology_nodes),
    {.name = "cache", .mode = S_IFDIR | 0555, .lookup = cache_lookup, .emit = cache_emit},
    PSEUDO_LINK("node0", "../../node/node0"),
    PSEUDO_END,
};

static const struct pseudo_node cpu_dir_node = PSEUDO_DIR("", cpu_dir_nodes);

static struct inode *cpu_lookup(struct inode *dir, const char *name, size_t len)
{
    struct pseudo_key k = {.cpu = numbered("cpu", name, len)};

    if (k.cpu < 0 || (unsigned)k.cpu >= proc_cpus())
        return ERR_PTR(-ENOENT);
    return pseudo_inode(dir->sb, &cpu_dir_node, &k);
}

static int cpu_emit(struct getdents_ctx *ctx, const struct pseudo_key *k UNUSED)
{
    return emit_numbered(ctx, "cpu", proc_cpus());
}

static int show_kernel_max(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "%u\n", TASK_CPU_WORDS * 64u - 1);
    return 0;
}

static const struct pseudo_node cpu_nodes[] = {
    PSEUDO_FILE("online", show_cpus_list),
    PSEUDO_FILE("possible", show_cpus_list),
    PSEUDO_FILE("present", show_cpus_list),
    PSEUDO_TEXT("offline", "\n"),
    PSEUDO_TEXT("isolated", "\n"),
    PSEUDO_FILE("kernel_max", show_kernel_max),
    PSEUDO_END,
};

/* --- the one memory node --- */

static int show_node_meminfo(struct text *t, const struct pseudo_key *k UNUSED)
{
    uint64_t total, used;

    proc_memory_kb(&total, &used);
    text_printf(t,
                "Node 0 MemTotal:       %llu kB\nNode 0 MemFree:        %llu kB\n"
                "Node 0 MemUsed:        %llu kB\n",
                (unsigned long long)total, (unsigned long long)(total - used),
                (unsigned long long)used);
    return 0;
}

static const struct pseudo_node node0_nodes[] = {
    PSEUDO_FILE("cpulist", show_cpus_list),
    PSEUDO_FILE("cpumap", show_cpus_map),
    PSEUDO_FILE("meminfo", show_node_meminfo),
    PSEUDO_TEXT("distance", "10\n"),
    PSEUDO_END,
};

static const struct pseudo_node node_nodes[] = {
    PSEUDO_TEXT("online", "0\n"),
    PSEUDO_TEXT("possible", "0\n"),
    PSEUDO_TEXT("has_cpu", "0\n"),
    PSEUDO_TEXT("has_memory", "0\n"),
    PSEUDO_TEXT("has_normal_memory", "0\n"),
    PSEUDO_DIR("node0", node0_nodes),
    PSEUDO_END,
};

const struct pseudo_node sysfs_system_nodes[] = {
    {.name = "cpu",
     .mode = S_IFDIR | 0555,
     .children = cpu_nodes,
     .lookup = cpu_lookup,
     .emit = cpu_emit},
    PSEUDO_DIR("node", node_nodes),
    PSEUDO_END,
};
