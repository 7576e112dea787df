/* SPDX-License-Identifier: Apache-2.0
 * text.h - text that grows, for generated files. */
#ifndef FS_TEXT_H
#define FS_TEXT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <base/compiler.h>

#define TEXT_MAX (16u << 20) /* bytes of one generated file; more is cut off */

struct text {
    char *buf;
    size_t len, size;
    bool failed; /* no memory: the content is incomplete */
};

void text_init(struct text *t);
void text_fini(struct text *t);
void text_clear(struct text *t);
void text_add(struct text *t, const void *data, size_t n);
PRINTF_LIKE(2, 3) void text_printf(struct text *t, const char *fmt, ...);
/* With blanks, tabs, newlines and backslashes as octal escapes, as in /proc/mounts. */
void text_escaped(struct text *t, const char *s);
/* Room for @n bytes at the end, to be filled by the caller who then adds to len. NULL: none. */
char *text_reserve(struct text *t, size_t n);

#endif
