/* SPDX-License-Identifier: Apache-2.0
 * log.c - one write(2) per line; a token bucket bounds what a guest can provoke.
 *
 * Host: write [sentry gofer] */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <base/log.h>

enum log_level log_threshold = LOG_WARN;
int log_fd = STDERR_FILENO;

#define LOG_BURST 200 /* lines a second */

void log_init_from_env(void)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *want = getenv("RINGBOX_LOG");

    for (unsigned i = 0; want && i < ARRAY_SIZE(names); i++)
        if (strcmp(want, names[i]) == 0)
            log_threshold = (enum log_level)i;
}

/* False when this second's budget is used up. Races only make the bound approximate. */
static bool budget_take(void)
{
    static _Atomic(int64_t) second;
    static _Atomic(int32_t) used;
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    if (atomic_exchange_explicit(&second, now.tv_sec, memory_order_relaxed) != now.tv_sec)
        atomic_store_explicit(&used, 0, memory_order_relaxed);
    return atomic_fetch_add_explicit(&used, 1, memory_order_relaxed) < LOG_BURST;
}

void log_write(enum log_level level, const char *part, const char *fmt, ...)
{
    static const char marks[] = "EWID";
    char line[512];
    va_list ap;

    if (level > LOG_ERROR && log_threshold < LOG_DEBUG && !budget_take())
        return;
    int n = snprintf(line, sizeof line, "ringbox %c %s: ", marks[level], part);
    va_start(ap, fmt);
    int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
    va_end(ap);
    size_t len = (size_t)n + (m < 0 ? 0 : MIN((size_t)m, sizeof line - (size_t)n - 2));
    line[len++] = '\n';
    if (write(log_fd, line, len) < 0)
        return; /* nowhere to say so */
}
