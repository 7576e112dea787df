/* SPDX-License-Identifier: Apache-2.0
 * err.h - errors carried in pointers: the top 4095 addresses stand for -errno. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <errno.h>
#include <stdbool.h>

#include <base/compiler.h>

#define MAX_ERRNO 4095

static inline void *ERR_PTR(long err)
{
    return (void *)err;
}

static inline int PTR_ERR(const void *p)
{
    return (int)(long)p;
}

static inline bool IS_ERR(const void *p)
{
    return unlikely((uintptr_t)p >= (uintptr_t)-MAX_ERRNO);
}

static inline bool IS_ERR_OR_NULL(const void *p)
{
    return unlikely(!p) || IS_ERR(p);
}

#endif
