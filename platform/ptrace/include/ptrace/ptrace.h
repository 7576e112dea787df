/* SPDX-License-Identifier: Apache-2.0
 * ptrace.h - the ptrace platform: guest threads stop for a tracer, a thread of the Sentry. */
#ifndef PTRACE_PTRACE_H
#define PTRACE_PTRACE_H

#include <base/platform.h>

const struct platform_ops *ptrace_platform(void);

#endif
