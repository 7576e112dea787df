/* SPDX-License-Identifier: Apache-2.0
 * compiler.h - the only place where GNU attributes and builtins are spelled out. */
#ifndef BASE_COMPILER_H
#define BASE_COMPILER_H

#include <stddef.h>
#include <stdint.h>

#define NODISCARD __attribute__((warn_unused_result))
#define NORETURN __attribute__((noreturn))
#define UNUSED __attribute__((unused))
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define PACKED __attribute__((packed))
#define ALIGNED(n) __attribute__((aligned(n)))
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define FALLTHROUGH __attribute__((fallthrough))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define CACHE_LINE 64
#define PAGE_SIZE 4096ULL
#define PAGE_SHIFT 12
#define PAGE_MASK (~(PAGE_SIZE - 1))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(__typeof__(((type *)0)->member) *)(ptr)-offsetof(type, member)))

/* Each argument is evaluated once; unique names, so that they nest. */
#define MIN(a, b) CHOOSE_UNIQUE(a, b, <, __COUNTER__)
#define MAX(a, b) CHOOSE_UNIQUE(a, b, >, __COUNTER__)
#define CHOOSE_UNIQUE(a, b, op, n) CHOOSE(a, b, op, n)
#define CHOOSE(a, b, op, n)                                     \
    __extension__({                                             \
        __typeof__(a) choose_a##n = (a);                        \
        __typeof__(b) choose_b##n = (b);                        \
        choose_a##n op choose_b##n ? choose_a##n : choose_b##n; \
    })

/* Round to a power of two. The caller has checked that rounding up does not overflow. */
ALWAYS_INLINE uint64_t align_up(uint64_t v, uint64_t pow2)
{
    return (v + pow2 - 1) & ~(pow2 - 1);
}

ALWAYS_INLINE uint64_t align_down(uint64_t v, uint64_t pow2)
{
    return v & ~(pow2 - 1);
}

/* An impossible state of our own making: stops the process in every build. Never for what a guest,
 * a 9P peer or a file can cause. */
#define BUG_ON(cond)                        \
    do {                                    \
        if (unlikely(cond))                 \
            bug(__FILE__, __LINE__, #cond); \
    } while (0)
NORETURN void bug(const char *file, int line, const char *what);

/* Memory released at the end of the scope: `char *s autofree = NULL;` */
void autofree_cleanup(void *pptr);
#define autofree CLEANUP(autofree_cleanup)
/* File descriptors (int, -1 when unset) closed at the end of the scope. */
void autoclose_cleanup(int *fd);
#define autoclose CLEANUP(autoclose_cleanup)
/* Reference dropped at the end of the scope: `struct file *f AUTO_PUT(file) = ...;` needs
 * DEFINE_AUTO_PUT(file) beside file_put(), which ignores NULL and ERR_PTR. */
#define AUTO_PUT(type) CLEANUP(type##_auto_put)
#define DEFINE_AUTO_PUT(type)                           \
    static inline void type##_auto_put(struct type **p) \
    {                                                   \
        type##_put(*p);                                 \
    }
/* Move an owned pointer out of a cleanup variable. */
#define steal(p)                    \
    __extension__({                 \
        __typeof__(p) stolen = (p); \
        (p) = NULL;                 \
        stolen;                     \
    })

#endif
