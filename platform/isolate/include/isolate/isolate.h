/* SPDX-License-Identifier: Apache-2.0
 * isolate.h - staged loss of privilege for each process of the sandbox, and its seccomp list.
 *
 * Stages of the Sentry: namespaces (may still mount) -> setup (memory file, io engines, template)
 * -> confined (empty root, unprivileged uid, no capability, no_new_privs, seccomp list "sentry").
 * Lists are generated from `Host: a, b [sentry]` declarations beside the code that makes the calls.
 */
#ifndef ISOLATE_ISOLATE_H
#define ISOLATE_ISOLATE_H

#include <stdbool.h>
#include <stdint.h>

/* Process-wide; the caller forks afterwards to become pid 1 of the pid namespace. As root: maps the
 * ids needed; as a user: a user namespace with that one id. @what names the step that failed. */
int isolate_namespaces(bool keep_user, const char **ret_what);

/* Last step of the Sentry. -errno and the step's name. */
int isolate_sentry(const char **ret_what);
/* Last step of the gofer: Landlock and seccomp; @writable exports exist. */
int isolate_gofer(bool writable, const char **ret_what);

/* "openat newfstatat ..." of list "sentry" or "gofer", for doctor --filters. */
const char *isolate_list(const char *name);

#endif
