/* SPDX-License-Identifier: Apache-2.0
 * sigbus.c - SIGBUS in the Sentry: the memory limit was reached, or a mapped file has shrunk.
 *
 * Both can be caused by guests at any time, so touching guest memory happens only in the routines
 * of uaccess_copy.S; a SIGBUS there makes the routine return early. Anywhere else it is a bug and
 * kills the Sentry.
 * Host: rt_sigaction [before confinement]
 */
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "mm_internal.h"

extern const char ua_text_begin[], ua_text_end[], ua_text_fault[];

static void on_sigbus(int signo, siginfo_t *info, void *ctx)
{
    ucontext_t *uc = ctx;
    uintptr_t ip = (uintptr_t)uc->uc_mcontext.gregs[REG_RIP];
    (void)info;
    if (ip >= (uintptr_t)ua_text_begin && ip < (uintptr_t)ua_text_end) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)ua_text_fault;
        return;
    }
    (void)signal(signo, SIG_DFL); /* the instruction faults again and ends the process */
}

int sigbus_init(void)
{
    struct sigaction sa;
    memset(&sa, 0, sizeof sa);
    sa.sa_sigaction = on_sigbus;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    return sigaction(SIGBUS, &sa, NULL) < 0 ? -errno : 0;
}
