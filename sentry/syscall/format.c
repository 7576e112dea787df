/* SPDX-License-Identifier: Apache-2.0
 * format.c - a call as text, for --trace: `openat(-100, "/etc/passwd", 0x80000, 00)`.
 *
 * Derived from the kinds in table.def. Strings are the guest's: read once, bounded, everything not
 * printable is escaped, so that a trace cannot be forged or drive a terminal. Reading may park.
 */
#include <syscall/sys.h>

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <base/err.h>

#define STRING_SHOWN 64

struct text {
    char *buf;
    size_t size, len;
};

PRINTF_LIKE(2, 3) static void text_add(struct text *t, const char *fmt, ...)
{
    if (t->len + 1 >= t->size)
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->buf + t->len, t->size - t->len, fmt, ap);
    va_end(ap);
    if (n > 0)
        t->len = MIN(t->len + (size_t)n, t->size - 1);
}

static void text_string(struct text *t, struct call *c, uint64_t va)
{
    char s[STRING_SHOWN + 1];
    if (!va) {
        text_add(t, "NULL");
        return;
    }
    ssize_t n = -EFAULT;
    if (c->task && c->task->mm)
        n = copy_in_string(c->task->mm, s, UADDR(va), sizeof(s));
    bool cut = n == -ENAMETOOLONG;
    if (cut && !copy_in(c->task->mm, s, UADDR(va), STRING_SHOWN))
        n = STRING_SHOWN;
    if (n < 0) {
        text_add(t, "0x%" PRIx64, va);
        return;
    }
    text_add(t, "\"");
    for (ssize_t i = 0; i < n; i++) {
        unsigned char ch = (unsigned char)s[i];
        if (ch < 0x80 && isprint(ch) && ch != '"' && ch != '\\')
            text_add(t, "%c", ch);
        else
            text_add(t, "\\x%02x", ch);
    }
    text_add(t, cut ? "\"..." : "\"");
}

static void text_argument(struct text *t, struct call *c, const char *kind, uint64_t v)
{
    if (!strcmp(kind, "PATH") || !strcmp(kind, "STR"))
        text_string(t, c, v);
    else if (!strcmp(kind, "FD") || !strcmp(kind, "INT") || !strcmp(kind, "PID") ||
             !strcmp(kind, "SIG"))
        text_add(t, "%" PRId32, (int32_t)v);
    else if (!strcmp(kind, "LONG") || !strcmp(kind, "OFF"))
        text_add(t, "%" PRId64, (int64_t)v);
    else if (!strcmp(kind, "UINT"))
        text_add(t, "%" PRIu32, (uint32_t)v);
    else if (!strcmp(kind, "SIZE") || !strcmp(kind, "ULONG"))
        text_add(t, "%" PRIu64, v);
    else if (!strcmp(kind, "MODE"))
        text_add(t, "0%" PRIo32, (uint32_t)v);
    else if (!strcmp(kind, "FLAGS"))
        text_add(t, "0x%" PRIx32, (uint32_t)v);
    else if (!v)
        text_add(t, "NULL");
    else
        text_add(t, "0x%" PRIx64, v);
}

int sys_format(struct call *c, char *buf, size_t size)
{
    struct text t = {.buf = buf, .size = size};
    if (!size)
        return 0;
    buf[0] = '\0';
    const struct sys_row *r = sys_row(c->nr);
    const char *name = sys_name(c->nr);
    if (name)
        text_add(&t, "%s(", name);
    else
        text_add(&t, "syscall_%" PRIu32 "(", c->nr);
    unsigned argc = r->run ? r->argc : 6;
    for (unsigned i = 0; i < argc; i++) {
        text_add(&t, "%s", i ? ", " : "");
        text_argument(&t, c, r->run ? r->arg_kinds[i] : "ADDR", c->args[i]);
    }
    text_add(&t, ")");
    return (int)t.len;
}
