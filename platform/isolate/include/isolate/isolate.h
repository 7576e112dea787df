/* SPDX-License-Identifier: Apache-2.0
 * isolate.h - staged loss of privilege for each process of the sandbox, and its seccomp list.
 *
 * Stages of the Sentry: namespaces, network last (may still mount) -> setup (memory file, io engines, template)
 * -> confined (empty root, unprivileged uid, no capability, no_new_privs, seccomp list "sentry").
 * Lists are generated from `Host: a, b [sentry]` declarations beside the code that makes the calls.
 */
#ifndef ISOLATE_ISOLATE_H
#define ISOLATE_ISOLATE_H

#include <stdbool.h>
#include <stdint.h>

enum isolate_user {
    ISOLATE_OWN_USER, /* a user namespace with one id: the caller's; root becomes 65534 before */
    ISOLATE_BY_RIGHT, /* root where that is refused: the caller's user namespace, but 65534 */
    ISOLATE_KEEP_USER /* root, for debugging: the caller's user namespace and id */
};

/**
 * isolate_namespaces - user, pid, mount, ipc and uts namespaces for this process, not yet net.
 * @ret_what: names the step that failed
 *
 * The caller forks afterwards: the child is pid 1 of the pid namespace. Capabilities are complete in
 * there until isolate_drop(). PR_SET_PDEATHSIG set before is lost. Single-threaded. Return: 0, -EOPNOTSUPP
 * root may have no user namespace (this process is no root any more: try ISOLATE_BY_RIGHT in another), -errno.
 */
int isolate_namespaces(enum isolate_user how, const char **ret_what);

/**
 * isolate_net_give - a network namespace for who takes it at the other end of the stream socket @sock.
 *
 * By the process that called isolate_namespaces(), after its fork: it takes long, and the child need not
 * wait. The caller is in it as well. Return: 0, -errno.
 */
int isolate_net_give(int sock, const char **ret_what);

/* Enter it, before isolate_drop(). 0, -ECHILD the other process died, -errno. */
int isolate_net_take(int sock, const char **ret_what);

/**
 * isolate_drop - second stage: every capability but the one to enter the empty root, bounding set
 * too; no_new_privs.
 *
 * After the mounts (memory file), before anything that threads or processes are started for: the
 * platform's template, io engines, pollers inherit what is left. Files can still be opened. May be
 * left out while the process is single-threaded: isolate_sentry() does it then.
 * Return: 0, -EBUSY there are threads, -errno.
 */
int isolate_drop(const char **ret_what);

/**
 * isolate_sentry - last stage: empty root, no capability, not dumpable, seccomp list "sentry" on
 * all threads. A call outside the list kills the process; builds with RINGBOX_SECCOMP_TRAP say
 * which on log_fd and exit with 159. Threads may still be started, processes not.
 * @traces: its platform traces the guests: list "ptrace" too
 * Return: 0, -errno and the step's name.
 */
int isolate_sentry(bool traces, const char **ret_what);

/* Makes its list, which takes a while: at any time before, when there is nothing else to do. */
void isolate_sentry_ahead(void);

/**
 * isolate_gofer_allow - before isolate_gofer(): Landlock lets it read (and with @writable change)
 * beneath the directory @dirfd. Without any such call reading is not restricted by Landlock.
 * Return: 0, -ENFILE more than ISOLATE_EXPORTS_MAX, -errno.
 */
#define ISOLATE_EXPORTS_MAX 64
int isolate_gofer_allow(int dirfd, bool writable);

/* Before that, for a file server that shows what everybody may see: root becomes an ordinary user, for
 * good. 0, -errno. */
int isolate_become_nobody(void);

/**
 * isolate_gofer - last stage of the gofer: only the capabilities about files, Landlock where the
 * host has it (no execution, no devices; no change at all without @writable), seccomp list "gofer".
 * Single-threaded. Return: 0, -errno and the step's name.
 */
int isolate_gofer(bool writable, const char **ret_what);

/* "openat newfstatat ..." of list "sentry", "gofer" or "ptrace", for doctor --filters. */
const char *isolate_list(const char *name);

#endif
