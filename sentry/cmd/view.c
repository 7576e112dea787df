/* SPDX-License-Identifier: Apache-2.0
 * view.c - what of the host a sandbox sees when nothing was said about it, and --show-view.
 *
 * Without --rootfs and --rw, / is shown as an ordinary user sees it: root's file server becomes nobody, so
 * what only root may read stays unread whatever happens inside. /root and /home are empty, but the
 * caller's home is there to write in. The current directory is shown as the caller sees it. All that is changed
 * goes to memory.
 *
 * Host: getcwd, open, stat [not confined] */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "mounts.h"

#define MASK_MODE 0755u
#define HOME_MODE 0700u

static const char *const masked[] = {"/root", "/home"};

static bool within(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || !path[n]);
}

static bool is_masked(const char *path)
{
    for (unsigned i = 0; i < ARRAY_SIZE(masked); i++)
        if (within(path, masked[i]))
            return true;
    return false;
}

/* The first directory on the way to @path, itself included, in which not everybody may do what is needed: 0
 * when there is none, else the length of its path. */
static size_t closed_at(const char *path)
{
    char part[PATH_MAX];
    struct stat st;
    size_t len = strlen(path);

    for (size_t n = 1; n <= len; n++) {
        if (path[n] && path[n] != '/')
            continue;
        memcpy(part, path, n);
        part[n] = 0;
        mode_t want = n == len ? 05 : 01;
        if (stat(part, &st) || (st.st_mode & want) != want)
            return n;
    }
    return 0;
}

static struct boot_mount *boot_next(struct mounts *m, enum boot_mount_kind kind, const char *target)
{
    struct boot_mount *b = &m->boot[m->boots++];
    *b = (struct boot_mount){.kind = kind,
                             .sock = -1,
                             .source = kind == BOOT_TMPFS ? "tmpfs" : target,
                             .target = target,
                             .aname = "",
                             .exclusive = true,
                             .read_only = kind != BOOT_TMPFS};
    return b;
}

static void mask_add(struct mounts *m, const char *path)
{
    struct stat st;
    if (stat(path, &st))
        return;
    m->export[0].hidden[m->export[0].hidden_count++] =
        (struct file_id){.dev = st.st_dev, .ino = st.st_ino};
    boot_next(m, BOOT_TMPFS, path)->mode = MASK_MODE;
}

/* The caller's home, when it is hidden, is there all the same, empty. */
static void home_add(struct mounts *m)
{
    const char *home = getenv("HOME");

    if (!home || !is_masked(home) || strstr(home, "/.") || strstr(home, "//"))
        return;
    for (unsigned i = 0; i < m->boots; i++)
        if (strcmp(m->boot[i].target, home) == 0)
            return;
    boot_next(m, BOOT_TMPFS, home)->mode = HOME_MODE;
}

int view_prepare(struct mounts *m, int (*export_add)(struct mounts *, int, bool, bool, int *))
{
    static char cwd[PATH_MAX], closed[PATH_MAX];
    bool have_cwd = getcwd(cwd, sizeof cwd) && cwd[0] == '/' && cwd[1];

    m->ordinary = true;
    m->export[0].as_nobody = geteuid() == 0;
    for (unsigned i = 0; i < ARRAY_SIZE(masked); i++)
        mask_add(m, masked[i]);
    home_add(m);
    size_t at = have_cwd && m->export[0].as_nobody ? closed_at(cwd) : 0;
    if (!have_cwd || (!is_masked(cwd) && at == 0))
        return 0;
    if (!is_masked(cwd) && cwd[at]) { /* a way there has to be made */
        memcpy(closed, cwd, at);
        boot_next(m, BOOT_TMPFS, closed)->mode = MASK_MODE;
    }
    int fd = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0; /* then it is not there inside either */
    return export_add(m, fd, true, false, &boot_next(m, BOOT_OVERLAY, cwd)->sock);
}

static void line(const char *target, const char *source, const char *how)
{
    printf("%-24s %-24s %s\n", target, source, how);
}

void view_show(const struct mounts *m, const char *rootfs, bool root_rw, bool root_exclusive)
{
    line("/", rootfs,
         root_rw        ? root_exclusive ? "written through, exclusive" : "written through, shared"
         : !m->ordinary ? "changes go to memory"
         : m->export[0].as_nobody ? "what everybody may read, changes go to memory"
                                  : "changes go to memory");
    line("/proc", "-", "the sandbox's own");
    line("/sys", "-", "the sandbox's own");
    line("/dev", "-", "the sandbox's own");
    for (unsigned i = 0; i < m->boots; i++) {
        const struct boot_mount *b = &m->boot[i];
        char how[64];
        snprintf(how, sizeof how, "%s, %s", b->read_only ? "read-only" : "written through",
                 b->exclusive ? "exclusive" : "shared");
        if (b->kind == BOOT_TMPFS)
            line(b->target, "-", "empty, in memory");
        else
            line(b->target, b->source, b->kind == BOOT_OVERLAY ? "changes go to memory" : how);
    }
}
