/* SPDX-License-Identifier: Apache-2.0
 * base.c - what several headers of this folder need in one place: bug(), cleanup helpers, hash key.
 * Host: close, getrandom [sentry gofer]
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/count.h>
#include <base/hash.h>
#include <base/log.h>

_Atomic(uint64_t) g_counts[COUNT_KINDS];

void bug(const char *file, int line, const char *what)
{
    log_write(LOG_ERROR, "bug", "%s:%d: %s", file, line, what);
    abort();
}

void autofree_cleanup(void *pptr)
{
    free(*(void **)pptr);
}

void autoclose_cleanup(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

uint64_t hash_key = 0x243f6a8885a308d3ULL;

void hash_init(void)
{
    if (getrandom(&hash_key, sizeof hash_key, GRND_NONBLOCK) != (ssize_t)sizeof hash_key)
        log_debug("base", "hash key is not random");
}

uint64_t hash_bytes(const void *p, size_t len)
{
    const unsigned char *s = p;
    uint64_t h = hash_key ^ len;

    while (len >= 8) {
        uint64_t v;
        __builtin_memcpy(&v, s, 8);
        h = (h ^ v) * 0x9e3779b97f4a7c15ULL;
        h ^= h >> 29;
        s += 8;
        len -= 8;
    }
    while (len--)
        h = (h ^ *s++) * 0x100000001b3ULL;
    h *= 0xd6e8feb86659fd93ULL;
    return h ^ h >> 32;
}
