/* SPDX-License-Identifier: Apache-2.0
 * unixutil.h - names and sockets for the tests of AF_UNIX. */
#ifndef UNIXUTIL_H
#define UNIXUTIL_H

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include "guest.h"

#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif

struct address {
    struct sockaddr_un un;
    socklen_t len;
};

/* Abstract, and of this process only. */
static inline struct address name_of(const char *tag)
{
    struct address a = {.un = {.sun_family = AF_UNIX}};
    int n = snprintf(a.un.sun_path + 1, sizeof(a.un.sun_path) - 1, "ringbox-%d-%s", getpid(), tag);
    a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
    return a;
}

static inline struct address path_of(const char *path)
{
    struct address a = {.un = {.sun_family = AF_UNIX}, .len = sizeof(a.un)};
    strcpy(a.un.sun_path, path);
    return a;
}

static inline int do_bind(int fd, const struct address *a)
{
    return bind(fd, (const struct sockaddr *)&a->un, a->len);
}

static inline int do_connect(int fd, const struct address *a)
{
    return connect(fd, (const struct sockaddr *)&a->un, a->len);
}

static inline ssize_t send_to(int fd, const char *text, int flags, const struct address *a)
{
    return sendto(fd, text, strlen(text), flags, (const struct sockaddr *)&a->un, a->len);
}

static inline int sock(int type)
{
    int fd = socket(AF_UNIX, type, 0);
    CHECK(fd >= 0);
    return fd;
}

static inline int bound(int type, const struct address *a)
{
    int fd = sock(type);
    CHECK(do_bind(fd, a) == 0);
    return fd;
}

static inline short ready(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static inline void in_temp_dir(void)
{
    char dir[] = "/tmp/unixXXXXXX";
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
}

#endif
