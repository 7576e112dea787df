/* SPDX-License-Identifier: Apache-2.0
 * command.c - starts a command that is asked for from outside: identity, working directory, stdio,
 * program, process.
 *
 * Who may lie: the owner may ask for what they like; it is all names and descriptors that the host has
 * already given. The guest, whose files are looked through: as in any exec.
 *
 * No locks. */
#include <service/command.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <files/files.h>
#include <kernel/task.h>
#include <mm/mm.h>
#include <syscall/exec.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#define CONSOLE "/dev/console" /* the caller's terminal */
#define NAME_SHOWN 300         /* bytes of a name in a message */
#define USUAL_PATH "/usr/local/bin:/usr/bin:/bin"

/* The descriptors as a table of files. */
static int stdio_open(struct task *t, struct command *c, struct host_terminal *terminal)
{
    for (int i = 0; i < 3; i++) {
        if (c->stdio[i] < 0)
            continue;
        struct file *f AUTO_PUT(file) =
            hostfile_new(c->stdio[i], i == 0 ? O_RDONLY : O_WRONLY, terminal);
        if (IS_ERR(f))
            return PTR_ERR(f);
        c->stdio[i] = -1;
        struct file *old = NULL;
        if (hostfile_is_tty(f) && path_lookup(t, AT_FDCWD, CONSOLE, LOOKUP_UNVEILED, &f->path) == 0)
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

static int load_one(struct task *t, const struct command *c, const char *path, struct mm **mm,
                    struct pf_regs *regs)
{
    struct exec_args args;
    int r = pack_strings(c->argv, c->envp, &args);

    if (r == 0) {
        r = exec_load(t, AT_FDCWD, path, 0, &args, mm, regs, t->comm);
        free(args.strings);
    }
    return r;
}

/* As execvp: PATH is searched for names without a slash; -EACCES is remembered. */
static int load(struct task *t, const struct command *c, struct mm **mm, struct pf_regs *regs)
{
    const char *name = c->argv[0], *dirs = env_get(c->envp, "PATH");
    char path[PATH_LEN_MAX];
    int best = -ENOENT;

    if (strchr(name, '/'))
        return load_one(t, c, name, mm, regs);
    if (!*name)
        return -ENOENT;
    for (dirs = dirs ? dirs : USUAL_PATH; dirs;
         dirs = strchr(dirs, ':') ? strchr(dirs, ':') + 1 : NULL) {
        size_t n = strcspn(dirs, ":");
        int len = snprintf(path, sizeof path, "%.*s/%s", n ? (int)n : 1, n ? dirs : ".", name);
        if (len < 0 || (size_t)len >= sizeof path)
            continue;
        int r = load_one(t, c, path, mm, regs);
        if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
            return r;
        if (r == -EACCES)
            best = r;
    }
    return best;
}

static int enter_cwd(struct task *t, const struct command *c, const struct path *root)
{
    struct path cwd AUTO_PATH = {0};
    int r = path_lookup(t, AT_FDCWD, c->cwd, LOOKUP_DIRECTORY | LOOKUP_UNVEILED, &cwd);

    if (r)
        return r;
    struct fs_struct *fs = fs_struct_new(root, &cwd, c->umask);
    if (!fs)
        return -ENOMEM;
    fs_struct_put(t->fs);
    t->fs = fs;
    return 0;
}

/* With @t, which carries lookups until there is a task; it loses what the process takes over. */
static int start(struct task *t, struct command *c, const struct path *root,
                 struct host_terminal *terminal, struct process **ret, struct command_error *error)
{
    struct pf_regs regs = {0};
    struct mm *mm = NULL;

    t->fs = fs_struct_new(root, root, c->umask);
    t->fds = fdtable_new();
    t->cred = cred_new(c->uid, c->gid, c->groups, c->group_count);
    if (!t->fs || !t->fds || !t->cred)
        return -ENOMEM;
    int r = enter_cwd(t, c, root);
    if (r) {
        error->what = "working directory ";
        error->name = c->cwd;
        return r;
    }
    r = stdio_open(t, c, terminal);
    if (r)
        return r;
    r = load(t, c, &mm, &regs);
    if (r) {
        error->status = r == -ENOENT || r == -ENOTDIR ? COMMAND_NOTFOUND : COMMAND_NOEXEC;
        return r;
    }
    return process_create_root(mm, steal(t->fds), steal(t->fs), steal(t->cred), &regs, t->comm,
                               c->nice, ret);
}

int command_error_text(const struct command_error *e, int err, char *buf, size_t size)
{
    bool cut = strlen(e->name) > NAME_SHOWN;

    return snprintf(buf, size, "%s%.*s%s: %s", e->what, NAME_SHOWN, e->name, cut ? "..." : "",
                    strerror(-err));
}

int command_start(struct command *c, const struct path *root, struct host_terminal **ret_terminal,
                  struct process **ret, struct command_error *error)
{
    struct task *t = calloc(1, sizeof *t);
    struct host_terminal *terminal = c->terminal ? host_terminal_new() : NULL;
    int r = -ENOMEM;

    *error = (struct command_error){COMMAND_FAILED, "", c->argv[0]};
    if (t && (terminal || !c->terminal)) {
        t->process = process_init();
        r = start(t, c, root, terminal, ret, error);
        if (t->fds)
            fdtable_put(t->fds);
        if (t->fs)
            fs_struct_put(t->fs);
        if (t->cred)
            cred_put(t->cred);
    }
    free(t);
    if (r == 0 && terminal)
        host_terminal_give(terminal, (*ret)->pid);
    if (r) {
        if (terminal)
            host_terminal_hangup(terminal);
        host_terminal_put(terminal);
        return r;
    }
    *ret_terminal = terminal;
    return 0;
}
