/* SPDX-License-Identifier: Apache-2.0
 * log.h - one line per message on the log descriptor (stderr unless set), level-filtered,
 * rate-limited. Libraries log at DEBUG; errors for people are reported once, by the CLI. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include <base/compiler.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

extern enum log_level log_threshold; /* set once at start from RINGBOX_LOG */
extern int log_fd;

void log_init_from_env(void);
PRINTF_LIKE(3, 4) void log_write(enum log_level level, const char *part, const char *fmt, ...);

#define log_at(level, part, ...)                 \
    do {                                         \
        if ((level) <= log_threshold)            \
            log_write(level, part, __VA_ARGS__); \
    } while (0)
#define log_error(part, ...) log_at(LOG_ERROR, part, __VA_ARGS__)
#define log_warn(part, ...) log_at(LOG_WARN, part, __VA_ARGS__)
#define log_info(part, ...) log_at(LOG_INFO, part, __VA_ARGS__)
#define log_debug(part, ...) log_at(LOG_DEBUG, part, __VA_ARGS__)

#endif
