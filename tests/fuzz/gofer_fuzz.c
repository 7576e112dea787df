/* SPDX-License-Identifier: Apache-2.0
 * gofer_fuzz.c - the server's whole loop on arbitrary request bytes, in this process, over a
 * temporary directory that is exported twice. Input: pairs of (length, bytes); the type and size of
 * each message are repaired so that most get through the frame. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gofer/gofer.h>
#include <p9/wire.h>

static int g_root = -1;

static void root_make(void)
{
    char dir[] = "/tmp/gofer-fuzz-XXXXXX";
    if (g_root >= 0)
        return;
    if (!mkdtemp(dir))
        abort();
    g_root = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(g_root, "a", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    if (write(fd, "data", 4) != 4 || mkdirat(g_root, "b", 0755) < 0 ||
        symlinkat("/etc", g_root, "c") < 0)
        abort();
    close(fd);
}

static size_t hello(uint8_t *out, size_t cap)
{
    struct p9_tversion v = {.msize = 65536, .version = p9_str_from(P9_VERSION_RINGBOX)};
    size_t n = (size_t)p9_encode_tversion(out, cap, &v);
    for (uint32_t fid = 0; fid < 2; fid++) {
        struct p9_tattach a = {.fid = fid,
                               .afid = P9_NOFID,
                               .uname = p9_str_from("u"),
                               .aname = p9_str_from(fid ? "ro" : "")};
        n += (size_t)p9_encode_tattach(out + n, cap - n, &a);
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t out[65536];
    int sv[2];
    root_make();
    if (size > 4096)
        return 0;
    size_t n = hello(out, sizeof out);
    for (size_t at = 0; at + 2 < size;) {
        size_t len = MIN((size_t)data[at], size - at - 1);
        if (len < 3)
            len = 3;
        len = MIN(len, size - at - 1);
        uint32_t total = (uint32_t)len + 4;
        for (unsigned i = 0; i < 4; i++)
            out[n + i] = (uint8_t)(total >> (8 * i));
        memcpy(out + n + 4, data + at + 1, len);
        n += total;
        at += 1 + len;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        abort();
    int big = 4 << 20;
    (void)setsockopt(sv[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof big);
    struct timeval wait = {.tv_sec = 1};
    (void)setsockopt(sv[1], SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait); /* nobody reads */
    if (write(sv[0], out, n) != (ssize_t)n)
        abort();
    shutdown(sv[0], SHUT_WR);
    struct gofer_export exports[] = {{.root_fd = g_root, .aname = ""},
                                     {.root_fd = g_root, .aname = "ro", .read_only = true}};
    struct gofer_config c = {
        .sock = sv[1], .exports = exports, .export_count = 2, .donate = true, .unconfined = true};
    (void)gofer_serve(&c);
    close(sv[0]);
    close(sv[1]);
    return 0;
}
