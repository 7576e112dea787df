/* SPDX-License-Identifier: Apache-2.0
 * attend.h - what `ringbox run` does while its sandbox runs. */
#ifndef CMD_ATTEND_H
#define CMD_ATTEND_H

#include <signal.h>

#include "control.h"

struct attended {
    pid_t sentry;
    int control;        /* to the Sentry: a byte for each signal or question (service/boot.h) */
    int attach;         /* to it: requests with descriptors (service/attach.h) */
    int answers;        /* from the Sentry: length and text */
    struct control *at; /* where others ask; its fd -1: nowhere */
    char **command;
    double timeout_s; /* 0: none */
    void (*ending)(void *arg); /* the Sentry is about to end: its processes die, which takes a while */
    void *ending_arg;
    bool killed; /* out: by us, after the time or on request */
};

/* Passes on @signals (blocked by the caller, SIGCHLD among them), answers others, until the Sentry
 * has ended. Returns its wait status. */
int attend(struct attended *a, const sigset_t *signals);

#endif
