/* SPDX-License-Identifier: Apache-2.0
 * text.c - text that grows, for generated files.
 *
 * Failures are remembered instead of returned, so that generators are plain lists of lines; whoever
 * opened the file looks once at the end. No locks. */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void text_init(struct text *t)
{
    memset(t, 0, sizeof(*t));
}

void text_fini(struct text *t)
{
    free(t->buf);
    text_init(t);
}

void text_clear(struct text *t)
{
    t->len = 0;
    t->failed = false;
}

char *text_reserve(struct text *t, size_t n)
{
    if (t->size - t->len >= n + 1)
        return t->buf + t->len;
    if (n > TEXT_MAX || t->len + n + 1 > TEXT_MAX) {
        t->failed = true;
        return NULL;
    }
    size_t size = MAX(t->len + n + 1, MIN(t->size * 2, (size_t)TEXT_MAX));
    size = MAX(size, (size_t)512);
    char *buf = realloc(t->buf, size);
    if (!buf) {
        t->failed = true;
        return NULL;
    }
    t->buf = buf;
    t->size = size;
    return buf + t->len;
}

void text_add(struct text *t, const void *data, size_t n)
{
    char *at = text_reserve(t, n);

    if (!at)
        return;
    memcpy(at, data, n);
    t->len += n;
}

void text_printf(struct text *t, const char *fmt, ...)
{
    va_list ap;
    char few[256];

    va_start(ap, fmt);
    int n = vsnprintf(few, sizeof(few), fmt, ap);
    va_end(ap);
    if (n < 0)
        return;
    if ((size_t)n < sizeof(few)) {
        text_add(t, few, (size_t)n);
        return;
    }
    char *at = text_reserve(t, (size_t)n);
    if (!at)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(at, (size_t)n + 1, fmt, ap);
    va_end(ap);
    t->len += (size_t)n;
}

void text_escaped(struct text *t, const char *s)
{
    for (; *s; s++) {
        if (strchr(" \t\n\\#", *s))
            text_printf(t, "\\%03o", (unsigned)(unsigned char)*s);
        else
            text_add(t, s, 1);
    }
}
