/* SPDX-License-Identifier: Apache-2.0
 * isolate_fixture.h - children that lose their privilege, and what they find. */
#ifndef TESTS_ISOLATE_FIXTURE_H
#define TESTS_ISOLATE_FIXTURE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIPPED 77
#define ORDINARY_UID 4321

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#elif __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#ifndef TSAN
#define TSAN 0
#endif
#ifndef ASAN
#define ASAN 0
#endif

/* Children may not use cmocka's asserts: they end with the line number (modulo). */
#define CHECK(cond)                                                         \
    do {                                                                    \
        if (!(cond)) {                                                      \
            dprintf(2, "line %d: %s (errno %d)\n", __LINE__, #cond, errno); \
            _exit(1);                                                       \
        }                                                                   \
    } while (0)

static inline int child_status(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static inline int in_child(void (*fn)(void *), void *arg)
{
    pid_t pid = fork();
    if (!pid) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        fn(arg);
        _exit(0);
    }
    return child_status(pid);
}

static inline bool become_ordinary(void)
{
    if (geteuid() != 0)
        return true;
    return !syscall(SYS_setgroups, 0, NULL) &&
           !setresgid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID) &&
           !setresuid(ORDINARY_UID, ORDINARY_UID, ORDINARY_UID);
}

static inline bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

static inline void v_exec(void)
{
    execl("/bin/true", "true", (char *)NULL);
}

#endif
