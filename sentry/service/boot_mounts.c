/* SPDX-License-Identifier: Apache-2.0
 * boot_mounts.c - the mounts a sandbox starts with: root, the kernel's own, those of the command line.
 *
 * Mounting is done with every right, whoever the first process will be. A place that is not there is made
 * in memory; on the host nothing is made: the mount is refused (ENOENT).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include <base/err.h>
#include <base/log.h>
#include <fs/fs.h>
#include <kernel/task.h>
#include <service/boot.h>
#include <vfs/unveil.h>
#include <vfs/vfs.h>

#include "private.h"

#define PLACE_MODE 0755u
#define TMPFS_MODE 01777u

/* Takes @sb, which may be an error. */
static int mount_at(struct task *t, const char *where, bool file, struct superblock *sb,
                    uint32_t flags)
{
    struct path at AUTO_PATH = {0};

    if (IS_ERR(sb))
        return PTR_ERR(sb);
    int r = path_lookup(t, AT_FDCWD, where, file ? 0 : LOOKUP_DIRECTORY, &at);
    if (r) {
        superblock_put(sb);
        return r;
    }
    return mount_add(sb, &at, flags);
}

void boot_mount_system(struct task *t)
{
    static const struct {
        const char *where;
        uint32_t mode;
        struct superblock *(*make)(void);
    } mounts[] = {{"/proc", 0, procfs_new},
                  {"/sys", 0, sysfs_new},
                  {"/dev", 0, devfs_new},
                  {"/dev/pts", 0, devpts_new},
                  {"/dev/shm", TMPFS_MODE, NULL}};

    for (unsigned i = 0; i < ARRAY_SIZE(mounts); i++) {
        struct superblock *sb =
            mounts[i].make ? mounts[i].make() : tmpfs_new(0, mounts[i].mode, 0, 0);
        int r = mount_at(t, mounts[i].where, false, sb, MS_NOSUID);
        if (r)
            log_info("boot", "%s is not mounted: errno=%d", mounts[i].where, -r);
    }
}

int boot_mount_root(const struct boot_config *cfg, struct path *ret)
{
    struct superblock *sb = p9fs_new(
        cfg->root_sock, &(struct p9fs_config){.aname = "",
                                              .source = cfg->root_source,
                                              .uid = cfg->command.uid,
                                              .exclusive = !cfg->root_rw || cfg->root_exclusive,
                                              .read_only = !cfg->root_rw});

    if (!IS_ERR(sb) && !cfg->root_rw)
        sb = overlay_new(sb, 0);
    return IS_ERR(sb) ? PTR_ERR(sb) : mount_root(sb, ret);
}

/* --- those of the command line --- */

static struct superblock *superblock_of(const struct boot_config *cfg, const struct boot_mount *m)
{
    if (m->kind == BOOT_TMPFS)
        return tmpfs_new(m->size_bytes, m->mode ? m->mode : TMPFS_MODE, cfg->command.uid,
                         cfg->command.gid);
    struct superblock *sb = p9fs_new(m->sock, &(struct p9fs_config){.aname = m->aname,
                                                                    .source = m->source,
                                                                    .uid = cfg->command.uid,
                                                                    .exclusive = m->exclusive,
                                                                    .read_only = m->read_only});
    return m->kind == BOOT_OVERLAY && !IS_ERR(sb) ? overlay_new(sb, 0) : sb;
}

/* Is what stands at @dir kept by the Sentry alone? */
static bool in_memory(struct task *t, const char *dir)
{
    struct path at AUTO_PATH = {0};
    if (path_lookup(t, AT_FDCWD, dir, LOOKUP_DIRECTORY, &at))
        return false;
    const char *type = path_inode(&at)->sb->type;
    return strcmp(type, "overlay") == 0 || strcmp(type, "tmpfs") == 0;
}

/* Each part of @target that is missing; the last is a file if @file. */
static int place_make(struct task *t, const char *target, bool file)
{
    char *path autofree = strdup(target);
    struct stat st;
    int r = path ? 0 : -ENOMEM;

    for (size_t at = 0; r == 0 && path[at];) {
        size_t part = strcspn(path + at + 1, "/") + 1;
        bool last = !path[at + part];
        char keep = path[at + part];
        path[at + part] = 0;
        r = vfs_stat(t, AT_FDCWD, path, 0, &st);
        if (r == -ENOENT) {
            path[at] = 0;
            bool ours = in_memory(t, at ? path : "/");
            path[at] = '/';
            r = !ours          ? -ENOENT
                : last && file ? vfs_mknod(t, AT_FDCWD, path, S_IFREG | 0644, 0)
                               : vfs_mkdir(t, AT_FDCWD, path, PLACE_MODE);
        }
        path[at + part] = keep;
        at += part;
    }
    return r;
}

static int mount_one(struct task *t, const struct boot_config *cfg, const struct boot_mount *m)
{
    struct superblock *sb = superblock_of(cfg, m);
    if (IS_ERR(sb))
        return PTR_ERR(sb);
    bool file = S_ISREG(inode_type(sb->root));
    int r = place_make(t, m->target, file);
    if (r) {
        superblock_put(sb);
        return r;
    }
    return mount_at(t, m->target, file, sb,
                    MS_NODEV | (m->read_only && m->kind != BOOT_OVERLAY ? MS_RDONLY : 0));
}

int boot_unveil_given(struct task *t, const struct boot_config *cfg, const char **ret_name)
{
    const char *command = *ret_name;
    struct cred *own = t->cred;
    int r = 0;

    t->cred = cred_new(0, 0, NULL, 0);
    if (!t->cred)
        r = -ENOMEM;
    for (unsigned i = 0; r == 0 && i < cfg->unveil_count; i++) {
        *ret_name = cfg->unveil[i].path;
        r = unveil_add(t, cfg->unveil[i].path, cfg->unveil[i].may);
    }
    if (t->cred)
        cred_put(t->cred);
    t->cred = own;
    t->process->unveil_kept = true; /* the command may only narrow it */
    if (r == 0)
        *ret_name = command;
    return r;
}

int boot_mount_given(struct task *t, const struct boot_config *cfg, const char **ret_name)
{
    int r = 0;
    struct cred *own = t->cred;

    t->cred = cred_new(0, 0, NULL, 0);
    if (!t->cred)
        r = -ENOMEM;
    for (unsigned i = 0; r == 0 && i < cfg->mount_count; i++) {
        *ret_name = cfg->mounts[i].target;
        r = mount_one(t, cfg, &cfg->mounts[i]);
    }
    if (t->cred)
        cred_put(t->cred);
    t->cred = own;
    return r;
}
