/* SPDX-License-Identifier: Apache-2.0
 * unveilutil.h - the tree that the tests of unveiled names look at: open/ and secret/ with a file each,
 * open/ro/file, open/sub/, plain. Natively begin() ends the case: nothing can be hidden there. */
#ifndef UNVEILUTIL_H
#define UNVEILUTIL_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <ringbox.h>

#include "guest.h"

static char g_dir[GUEST_TEMPLATE_MAX];
static char g_self[4096];

static inline const char *at(const char *name)
{
    static char paths[8][GUEST_TEMPLATE_MAX + 64];
    static unsigned next;
    char *p = paths[next++ % 8];
    snprintf(p, sizeof(paths[0]), "%s/%s", g_dir, name);
    return p;
}

static inline void put(const char *name, const char *text)
{
    int fd = open(at(name), O_CREAT | O_TRUNC | O_WRONLY, 0755);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline void begin(void)
{
    if (ringbox_pledge(NULL, NULL) == -ENOSYS) {
        CHECK_EQ(ringbox_unveil("/", "r"), -ENOSYS);
        CHECK_EQ(ringbox_unveil(NULL, NULL), -ENOSYS);
        _exit(0);
    }
    CHECK(readlink("/proc/self/exe", g_self, sizeof(g_self) - 1) > 0);
    CHECK(mkdtemp(guest_template(g_dir, "unveil")));
    CHECK(mkdir(at("open"), 0755) == 0 && mkdir(at("secret"), 0755) == 0);
    CHECK(mkdir(at("open/sub"), 0755) == 0 && mkdir(at("open/ro"), 0755) == 0);
    put("open/file", "open");
    put("open/ro/file", "ro");
    put("secret/file", "secret");
    put("plain", "plain");
}

static inline int remove_tree(const char *dir)
{
    char sub[1024];
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(sub, sizeof(sub), "%.500s/%s", dir, e->d_name);
        if (unlink(sub))
            remove_tree(sub);
    }
    if (d)
        closedir(d);
    return rmdir(dir);
}

static inline void end(void)
{
    CHECK_EQ(remove_tree(g_dir), 0);
}

static inline void show(const char *name, const char *letters)
{
    CHECK_EQ(ringbox_unveil(at(name), letters), 0);
}

/* @fn in a child, whose view ends with it. */
static inline void inside(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        fn();
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static inline bool reads(int fd, const char *text)
{
    char buf[64] = {0};
    return fd >= 0 && pread(fd, buf, sizeof(buf) - 1, 0) >= 0 && !strcmp(buf, text);
}

#endif
