/* SPDX-License-Identifier: Apache-2.0
 * hash.h - keyed mixing for intrusive hash tables (buckets are list_heads of the owner's choice).
 * The key is random per process, so a guest cannot aim at one bucket. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <base/compiler.h>

extern uint64_t hash_key; /* set by hash_init() before the first table */
void hash_init(void);

static inline uint64_t hash_u64(uint64_t v)
{
    v ^= hash_key;
    v *= 0x9e3779b97f4a7c15ULL;
    v ^= v >> 32;
    v *= 0xd6e8feb86659fd93ULL;
    return v ^ v >> 32;
}

uint64_t hash_bytes(const void *p, size_t len);

#endif
