/* SPDX-License-Identifier: Apache-2.0
 * sigutil.h - handlers that record, masks, a child that signals later. */
#ifndef SIGUTIL_H
#define SIGUTIL_H

#include "guest.h"

static volatile sig_atomic_t g_hits;
static volatile int g_order[64];
static volatile siginfo_t g_info;

static inline void count(int signo)
{
    g_order[g_hits & 63] = signo;
    g_hits = g_hits + 1;
}

static inline void count_info(int signo, siginfo_t *si, void *uc)
{
    (void)uc;
    memcpy((void *)&g_info, si, sizeof(*si));
    count(signo);
}

static inline void handle(int signo, void (*fn)(int), int flags)
{
    struct sigaction a = {.sa_handler = fn, .sa_flags = flags};
    sigemptyset(&a.sa_mask);
    CHECK(sigaction(signo, &a, NULL) == 0);
}

static inline void handle_info(int signo, int flags)
{
    struct sigaction a = {.sa_sigaction = count_info, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    CHECK(sigaction(signo, &a, NULL) == 0);
}

static inline sigset_t set_of(int a, int b)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, a);
    if (b)
        sigaddset(&s, b);
    return s;
}

static inline void block(int a, int b)
{
    sigset_t s = set_of(a, b);
    CHECK(sigprocmask(SIG_BLOCK, &s, NULL) == 0);
}

static inline void unblock(int a, int b)
{
    sigset_t s = set_of(a, b);
    CHECK(sigprocmask(SIG_UNBLOCK, &s, NULL) == 0);
}

/* A child that signals its parent after some time. */
struct later {
    int ms, signo, times;
};

static inline void later_run(void *arg)
{
    const struct later *l = arg;
    for (int i = 0; i < l->times; i++) {
        guest_sleep_ms(l->ms);
        kill(getppid(), l->signo);
    }
}

static inline pid_t later(int ms, int signo, int times)
{
    struct later l = {ms, signo, times};
    return guest_fork(later_run, &l);
}

#endif
