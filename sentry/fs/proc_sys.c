/* SPDX-License-Identifier: Apache-2.0
 * proc_sys.c - /proc/sys and /proc/PID/net: constants, names, limits.
 *
 * Nothing here can be changed from inside but the host's name with CAP_SYS_ADMIN; a write of the
 * rest is refused by its mode. g_kernel.lock around the names.
 *
 * Host: getrandom [sentry] */
#include <linux/capability.h>
#include <stdio.h>
#include <sys/random.h>

#include "proc.h"

static void uuid_text(struct text *t, uint8_t b[16])
{
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    for (int i = 0; i < 16; i++)
        text_printf(t, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
    text_printf(t, "\n");
}

static int show_uuid(struct text *t, const struct pseudo_key *k UNUSED)
{
    uint8_t b[16];

    if (getrandom(b, sizeof(b), GRND_NONBLOCK) != sizeof(b))
        return -EAGAIN;
    uuid_text(t, b);
    return 0;
}

static int show_boot_id(struct text *t, const struct pseudo_key *k UNUSED)
{
    static struct spin lock = SPIN_INIT(RANK_LEAF);
    static uint8_t id[16]; /* lock; zero: not drawn yet */
    uint8_t fresh[16], b[16];

    if (getrandom(fresh, sizeof(fresh), GRND_NONBLOCK) != sizeof(fresh))
        return -EAGAIN;
    spin_lock(&lock);
    if (!id[6])
        memcpy(id, fresh, sizeof(id)), id[6] |= 1;
    memcpy(b, id, sizeof(b));
    spin_unlock(&lock);
    uuid_text(t, b);
    return 0;
}

static int show_hostname(struct text *t, const struct pseudo_key *k UNUSED)
{
    char name[sizeof(g_kernel.hostname)];

    spin_lock(&g_kernel.lock);
    memcpy(name, g_kernel.hostname, sizeof(name));
    spin_unlock(&g_kernel.lock);
    text_printf(t, "%s\n", name);
    return 0;
}

static int show_domainname(struct text *t, const struct pseudo_key *k UNUSED)
{
    char name[sizeof(g_kernel.domainname)];

    spin_lock(&g_kernel.lock);
    memcpy(name, g_kernel.domainname, sizeof(name));
    spin_unlock(&g_kernel.lock);
    text_printf(t, "%s\n", name[0] ? name : "(none)");
    return 0;
}

static int show_pid_max(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "%u\n", MAX(g_kernel.pid_max, 32768u));
    return 0;
}

static const struct pseudo_node random_nodes[] = {
    PSEUDO_FILE("uuid", show_uuid),
    PSEUDO_FILE("boot_id", show_boot_id),
    PSEUDO_TEXT("entropy_avail", "256\n"),
    PSEUDO_TEXT("poolsize", "256\n"),
    PSEUDO_END,
};

static const struct pseudo_node kernel_nodes[] = {
    PSEUDO_FILE("osrelease", proc_show_osrelease),
    PSEUDO_TEXT("ostype", "Linux\n"),
    PSEUDO_FILE("hostname", show_hostname),
    PSEUDO_FILE("domainname", show_domainname),
    PSEUDO_FILE("pid_max", show_pid_max),
    PSEUDO_FILE("threads-max", show_pid_max),
    PSEUDO_TEXT("ngroups_max", "65536\n"),
    PSEUDO_TEXT("cap_last_cap", "40\n"),
    PSEUDO_TEXT("core_pattern", "core\n"),
    PSEUDO_TEXT("core_uses_pid", "0\n"),
    PSEUDO_TEXT("overflowuid", "65534\n"),
    PSEUDO_TEXT("overflowgid", "65534\n"),
    PSEUDO_TEXT("randomize_va_space", "2\n"),
    PSEUDO_TEXT("perf_event_paranoid", "4\n"),
    PSEUDO_TEXT("shmmax", "18446744073692774399\n"),
    PSEUDO_TEXT("shmall", "18446744073692774399\n"),
    PSEUDO_TEXT("msgmax", "8192\n"),
    PSEUDO_TEXT("sem", "32000\t1024000000\t500\t32000\n"),
    PSEUDO_DIR("random", random_nodes),
    PSEUDO_END,
};

static const struct pseudo_node vm_nodes[] = {
    PSEUDO_TEXT("overcommit_memory", "0\n"),
    PSEUDO_TEXT("overcommit_ratio", "50\n"),
    PSEUDO_TEXT("max_map_count", "65530\n"),
    PSEUDO_TEXT("mmap_min_addr", "65536\n"),
    PSEUDO_TEXT("swappiness", "60\n"),
    PSEUDO_TEXT("nr_hugepages", "0\n"),
    PSEUDO_END,
};

static int show_file_max(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "%u\n", FILES_MAX);
    return 0;
}

static int show_file_nr(struct text *t, const struct pseudo_key *k UNUSED)
{
    text_printf(t, "%llu\t0\t%u\n", (unsigned long long)file_count(), FILES_MAX);
    return 0;
}

static const struct pseudo_node sys_fs_nodes[] = {
    PSEUDO_FILE("file-max", show_file_max),
    PSEUDO_FILE("file-nr", show_file_nr),
    PSEUDO_TEXT("nr_open", "1048576\n"),
    PSEUDO_TEXT("pipe-max-size", "1048576\n"),
    PSEUDO_TEXT("pipe-user-pages-soft", "16384\n"),
    PSEUDO_TEXT("pipe-user-pages-hard", "0\n"),
    PSEUDO_TEXT("protected_hardlinks", "1\n"),
    PSEUDO_TEXT("protected_symlinks", "1\n"),
    PSEUDO_END,
};

static const struct pseudo_node net_core_nodes[] = {
    PSEUDO_TEXT("somaxconn", "4096\n"),      PSEUDO_TEXT("rmem_max", "212992\n"),
    PSEUDO_TEXT("wmem_max", "212992\n"),     PSEUDO_TEXT("rmem_default", "212992\n"),
    PSEUDO_TEXT("wmem_default", "212992\n"), PSEUDO_END,
};

static const struct pseudo_node net_ipv4_nodes[] = {
    PSEUDO_TEXT("ip_local_port_range", "32768\t60999\n"),
    PSEUDO_TEXT("ip_unprivileged_port_start", "1024\n"),
    PSEUDO_TEXT("tcp_fin_timeout", "60\n"),
    PSEUDO_TEXT("tcp_fastopen", "0\n"),
    PSEUDO_TEXT("tcp_keepalive_time", "7200\n"),
    PSEUDO_TEXT("tcp_keepalive_intvl", "75\n"),
    PSEUDO_TEXT("tcp_keepalive_probes", "9\n"),
    PSEUDO_TEXT("tcp_max_syn_backlog", "4096\n"),
    PSEUDO_TEXT("tcp_rmem", "4096\t131072\t6291456\n"),
    PSEUDO_TEXT("tcp_wmem", "4096\t16384\t4194304\n"),
    PSEUDO_TEXT("tcp_congestion_control", "cubic\n"),
    PSEUDO_TEXT("tcp_available_congestion_control", "reno cubic\n"),
    PSEUDO_END,
};

static const struct pseudo_node ipv6_conf_nodes[] = {
    PSEUDO_TEXT("disable_ipv6", "0\n"),
    PSEUDO_END,
};

static const struct pseudo_node ipv6_confs[] = {
    PSEUDO_DIR("all", ipv6_conf_nodes),
    PSEUDO_DIR("default", ipv6_conf_nodes),
    PSEUDO_DIR("lo", ipv6_conf_nodes),
    PSEUDO_END,
};

static const struct pseudo_node net_ipv6_nodes[] = {
    PSEUDO_TEXT("bindv6only", "0\n"),
    PSEUDO_DIR("conf", ipv6_confs),
    PSEUDO_END,
};

static const struct pseudo_node sys_net_nodes[] = {
    PSEUDO_DIR("core", net_core_nodes),
    PSEUDO_DIR("ipv4", net_ipv4_nodes),
    PSEUDO_DIR("ipv6", net_ipv6_nodes),
    PSEUDO_END,
};

const struct pseudo_node proc_sys_nodes[] = {
    PSEUDO_DIR("kernel", kernel_nodes),
    PSEUDO_DIR("vm", vm_nodes),
    PSEUDO_DIR("fs", sys_fs_nodes),
    PSEUDO_DIR("net", sys_net_nodes),
    PSEUDO_END,
};
