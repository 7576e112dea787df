/* SPDX-License-Identifier: Apache-2.0
 * boot.c - the order in which a sandbox comes up, and the hooks that join the layers.
 *
 * boot_prepare() runs before the Sentry confines itself and touches the host; boot_run() after it,
 * with nothing but the descriptors in boot_config.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <base/log.h>
#include <files/files.h>
#include <fs/fs.h>
#include <host/limits.h>
#include <host/memfile.h>
#include <kernel/futex.h>
#include <mm/mm.h>
#include <net/net.h>
#include <service/boot.h>
#include <syscall/exec.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#include "private.h"

#define CONSOLE "/dev/console" /* the caller's terminal */
#define STATUS_FAILED 125
#define STATUS_NOEXEC 126
#define STATUS_NOTFOUND 127
#define NAME_SHOWN 300           /* bytes of a name in a message */
#define MEMORY_KEPT (4ULL << 20) /* given up by guests and kept for others */

static struct process *g_first;
static bool g_ahead;

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
    struct kernel_config k = {cfg->pid_max, cfg->uid, cfg->gid, cfg->hostname};
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

static int open_stdio(struct task *t, const struct boot_config *cfg)
{
    for (int i = 0; i < 3; i++) {
        if (cfg->stdio[i] < 0)
            continue;
        struct file *f AUTO_PUT(file) = hostfile_new(cfg->stdio[i], i == 0 ? O_RDONLY : O_WRONLY);
        if (IS_ERR(f))
            return PTR_ERR(f);
        struct file *old = NULL;
        if (hostfile_is_tty(f) && path_lookup(t, AT_FDCWD, CONSOLE, 0, &f->path) == 0)
            f->inode = inode_get(file_inode(f));
        int r = fd_install_at(t, i, f, 0, &old);
        if (r < 0)
            return r;
        file_put(old);
    }
    return 0;
}

static int pack_strings(char **argv, char **envp, struct exec_args *ret)
{
    size_t len = 0;
    char **lists[2] = {argv, envp};
    uint32_t counts[2] = {0, 0};

    for (int l = 0; l < 2; l++)
        for (char **s = lists[l]; *s; s++, counts[l]++)
            len += strlen(*s) + 1;
    char *buf = malloc(len + 1), *p = buf;
    if (!buf)
        return -ENOMEM;
    for (int l = 0; l < 2; l++)
        for (char **s = lists[l]; *s; s++)
            p = stpcpy(p, *s) + 1;
    *ret = (struct exec_args){buf, len, counts[0], counts[1]};
    return 0;
}

static const char *env_get(char **envp, const char *name)
{
    size_t n = strlen(name);

    for (; *envp; envp++)
        if (strncmp(*envp, name, n) == 0 && (*envp)[n] == '=')
            return *envp + n + 1;
    return NULL;
}

static int load_one(struct task *t, const struct boot_config *cfg, const char *path, struct mm **mm,
                    struct pf_regs *regs)
{
    struct exec_args args;
    int r = pack_strings(cfg->argv, cfg->envp, &args);

    if (r == 0) {
        r = exec_load(t, AT_FDCWD, path, 0, &args, mm, regs, t->comm);
        free(args.strings);
    }
    return r;
}

/* As execvp: PATH is searched for names without a slash; -EACCES is remembered. */
static int load_command(struct task *t, const struct boot_config *cfg, struct mm **mm,
                        struct pf_regs *regs)
{
    const char *name = cfg->argv[0], *dirs = env_get(cfg->envp, "PATH");
    char path[PATH_LEN_MAX];
    int best = -ENOENT;

    if (strchr(name, '/'))
        return load_one(t, cfg, name, mm, regs);
    if (!*name)
        return -ENOENT;
    for (dirs = dirs ? dirs : "/usr/local/bin:/usr/bin:/bin"; dirs;
         dirs = strchr(dirs, ':') ? strchr(dirs, ':') + 1 : NULL) {
        size_t n = strcspn(dirs, ":");
        int len = snprintf(path, sizeof path, "%.*s/%s", n ? (int)n : 1, n ? dirs : ".", name);
        if (len < 0 || (size_t)len >= sizeof path)
            continue;
        int r = load_one(t, cfg, path, mm, regs);
        if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
            return r;
        if (r == -EACCES)
            best = r;
    }
    return best;
}

/* *ret_what, *ret_name: what an error is about. */
static int start(const struct boot_config *cfg, struct task *t, int *ret_status,
                 const char **ret_what, const char **ret_name)
{
    struct path root AUTO_PATH = {0}, cwd AUTO_PATH = {0};
    struct pf_regs regs = {0};
    struct mm *mm;

    *ret_status = STATUS_FAILED;
    *ret_what = "";
    *ret_name = cfg->argv[0];
    int r = boot_mount_root(cfg, &root);
    if (r)
        return r;
    t->fs = fs_struct_new(&root, &root, 022);
    t->fds = fdtable_new();
    t->cred = cred_new(cfg->uid, cfg->gid, cfg->groups, cfg->group_count);
    if (!t->fs || !t->fds || !t->cred)
        return -ENOMEM;
    boot_mount_system(t);
    r = boot_mount_given(t, cfg, ret_name);
    if (r) {
        *ret_what = "mount ";
        return r;
    }
    *ret_name = cfg->argv[0];
    r = path_lookup(t, AT_FDCWD, cfg->cwd, LOOKUP_DIRECTORY, &cwd);
    if (r) {
        *ret_what = "working directory ";
        *ret_name = cfg->cwd;
        return r;
    }
    struct fs_struct *fs = fs_struct_new(&root, &cwd, cfg->umask);
    if (!fs)
        return -ENOMEM;
    fs_struct_put(t->fs);
    t->fs = fs;
    r = open_stdio(t, cfg);
    if (r)
        return r;
    r = load_command(t, cfg, &mm, &regs);
    if (r) {
        *ret_status = r == -ENOENT || r == -ENOTDIR ? STATUS_NOTFOUND : STATUS_NOEXEC;
        return r;
    }
    r = process_create_first(mm, t->fds, t->fs, t->cred, &regs, &g_first);
    if (r == 0) {
        memcpy(g_first->leader->comm, t->comm, TASK_COMM_LEN);
        g_first->leader->nice = cfg->nice;
        hostfile_tty_give(g_first->pid);
    }
    return r;
}

void boot_run(void *arg)
{
    const struct boot_config *cfg = arg;
    static struct task template; /* carries lookups until there is a first task */
    const char *what, *name;
    int status;

    template.process = process_init();
    int r = start(cfg, &template, &status, &what, &name);
    if (r) {
        bool cut = strlen(name) > NAME_SHOWN;
        log_error("boot", "%s%.*s%s: %s", what, NAME_SHOWN, name, cut ? "..." : "", strerror(-r));
        service_stop(status);
        return;
    }
    if (cfg->control >= 0)
        control_start(cfg->control, cfg->answers, g_first);
}
