/* SPDX-License-Identifier: Apache-2.0
 * boot.c - the order in which a sandbox comes up, and the hooks that join the layers.
 *
 * boot_prepare() runs before the Sentry confines itself and touches the host; boot_run() after it,
 * with nothing but the descriptors in boot_config.
 */
#include <stdio.h>
#include <string.h>

#include <base/err.h>
#include <base/log.h>
#include <files/files.h>
#include <fs/fs.h>
#include <host/limits.h>
#include <host/memfile.h>
#include <kernel/futex.h>
#include <kernel/pledge.h>
#include <mm/mm.h>
#include <net/net.h>
#include <service/boot.h>
#include <syscall/exec.h>
#include <vfs/fdtable.h>
#include <vfs/unveil.h>
#include <vfs/vfs.h>

#include "attach.h"
#include "private.h"

#define MEMORY_KEPT (4ULL << 20) /* given up by guests and kept for others */

static struct process *g_first;
static bool g_ahead;
static struct path g_root; /* references, for the life of the sandbox */

static int hook_fds_clone(struct fdtable *from, bool share, struct fdtable **ret)
{
    struct fdtable *t = share ? fdtable_get(from) : fdtable_copy(from);

    if (IS_ERR_OR_NULL(t))
        return -ENOMEM;
    *ret = t;
    return 0;
}

static int hook_fs_clone(struct fs_struct *from, bool share, struct fs_struct **ret)
{
    struct fs_struct *f = share ? fs_struct_get(from) : fs_struct_copy(from);

    if (IS_ERR_OR_NULL(f))
        return -ENOMEM;
    *ret = f;
    return 0;
}

static void hook_init_exited(struct process *first, int32_t status)
{
    if (first != g_first && g_first)
        return;
    service_stop((status & 0x7f) ? 128 + (status & 0x7f) : (status >> 8) & 0xff);
}

static void hooks_set(void)
{
    g_kernel_hooks.fds_clone = hook_fds_clone;
    g_kernel_hooks.fds_put = fdtable_put;
    g_kernel_hooks.fs_clone = hook_fs_clone;
    g_kernel_hooks.fs_put = fs_struct_put;
    g_kernel_hooks.unveil_get = unveil_get_of;
    g_kernel_hooks.unveil_put = unveil_put;
    g_kernel_hooks.process_gone = procfs_process_gone;
    g_kernel_hooks.init_exited = hook_init_exited;
    g_vfs_hooks.fifo_open = fifo_open;
    g_vfs_hooks.file_gone = epoll_file_gone;
    devfs_tty_open = tty_controlling_open;
    devfs_console_open = hostfile_console_open;
    devpts_hooks = (struct devpts_hooks){pty_master_open, pty_slave_open, pty_next, pty_node};
    procfs_session_tty = tty_of_session;
    g_kernel_hooks.session_ended = tty_session_ended;
    procfs_net_show = proc_net_show;
}

int boot_ahead(const struct boot_config *cfg)
{
    struct kernel_config k = {cfg->pid_max, cfg->command.uid, cfg->command.gid, cfg->hostname};
    struct host_limits host;
    struct sandbox_limits limits;

    if (g_ahead)
        return 0;
    g_ahead = true;
    hooks_set();
    host_limits_read(&host);
    sandbox_limits_derive(&host, &limits);
    p9fs_limit_fds(limits.donated_fds);
    procfs_capture_host();
    exec_capture_host();
    int r = kernel_init(&k);
    if (r == 0)
        r = vfs_init();
    futex_init();
    net_init();
    return r;
}

int boot_prepare(const struct boot_config *cfg)
{
    int r = boot_ahead(cfg);

    g_platform = service_platform();
    if (r == 0)
        r = mm_init(g_platform, cfg->memfile);
    mm_pool_limit(MIN(MEMORY_KEPT, memfile_limit(cfg->memfile) / 64));
    if (r == 0)
        r = fs_init(cfg->memfile);
    return r;
}

/* The mounts. *ret_root gives a reference. */
static int mount_all(const struct boot_config *cfg, struct path *ret_root,
                     struct command_error *error)
{
    static struct task template; /* carries lookups until there is a first task */
    struct task *t = &template;

    *error = (struct command_error){COMMAND_FAILED, "", cfg->command.argv[0]};
    t->process = process_init();
    int r = boot_mount_root(cfg, ret_root);
    if (r)
        return r;
    t->fs = fs_struct_new(ret_root, ret_root, 022);
    t->cred =
        cred_new(cfg->command.uid, cfg->command.gid, cfg->command.groups, cfg->command.group_count);
    if (!t->fs || !t->cred)
        return -ENOMEM;
    boot_mount_system(t);
    r = boot_mount_given(t, cfg, &error->name);
    if (r)
        error->what = "mount ";
    if (r == 0) {
        r = boot_unveil_given(t, cfg, &error->name);
        if (r)
            error->what = "--unveil ";
    }
    if (r == 0 && cfg->pledge) /* of process 1, and so of every command */
        (void)pledge_restrict(t->process, cfg->pledge, NULL);
    fs_struct_put(t->fs);
    cred_put(t->cred);
    return r;
}

void boot_run(void *arg)
{
    struct boot_config *cfg = arg;
    struct command_error error;
    struct host_terminal *terminal;
    char text[COMMAND_ERROR_MAX];

    int r = mount_all(cfg, &g_root, &error);
    if (r == 0)
        r = command_start(&cfg->command, &g_root, &terminal, &g_first, &error);
    if (r) {
        command_error_text(&error, r, text, sizeof text);
        log_error("boot", "%s", text);
        service_stop(error.status);
        return;
    }
    if (terminal)
        host_terminal_console(terminal);
    if (cfg->control >= 0)
        control_start(cfg->control, cfg->answers, g_first, terminal);
    if (cfg->attach >= 0)
        attach_start(cfg->attach, &g_root, &cfg->command);
}
