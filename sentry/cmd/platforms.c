/* SPDX-License-Identifier: Apache-2.0
 * platforms.c - which platforms there are, and the choice between them.
 *
 * `auto` is trap where it works. Whether it does is known when it has been started: a host can have all
 * that it asks for and refuse the listener all the same (another one is above us). Then it is ptrace.
 *
 * Host: fork, waitpid [not confined] */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/log.h>
#include <host/memfile.h>
#include <ptrace/ptrace.h>
#include <trap/trap.h>

#include "cmd.h"

#define PROBE_MEMORY (64ULL << 20)

const struct platform_ops *platform_at(unsigned i)
{
    const struct platform_ops *const all[] = {trap_platform(), ptrace_platform()};

    return i < ARRAY_SIZE(all) ? all[i] : NULL;
}

const struct platform_ops *platform_named(const char *name)
{
    const struct platform_ops *pf;

    for (unsigned i = 0; (pf = platform_at(i)); i++)
        if (strcmp(pf->name, name) == 0)
            break;
    return pf;
}

bool platform_traces(const struct platform_ops *pf)
{
    return pf == ptrace_platform();
}

const char *platform_probe(const struct platform_ops *pf)
{
    const char *why = pf->unavailable();
    int status;

    if (why)
        return why;
    pid_t pid = fork();
    if (pid == 0) {
        struct memfile *mf;
        int r = memfile_create(PROBE_MEMORY, &mf);
        if (!r)
            r = pf->init(mf, NULL);
        if (!r)
            pf->fini();
        _exit(-r);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        return "no process to try it in";
    if (!WIFEXITED(status))
        return "it dies at its start";
    return WEXITSTATUS(status) ? strerror(WEXITSTATUS(status)) : NULL;
}

/* 0, or why not. */
static int try(const struct platform_ops *pf, struct memfile *mf, const char *cpus,
               const char **ret_why)
{
    *ret_why = pf->unavailable();
    int r = *ret_why ? -ENOTSUP : pf->init(mf, cpus);

    if (r && !*ret_why)
        *ret_why = strerror(-r);
    if (r)
        log_info("cmd", "platform %s: %s", pf->name, *ret_why);
    return r;
}

int platform_start(const char *name, struct memfile *mf, const char *cpus,
                   const struct platform_ops **ret)
{
    const char *why = NULL, *first = NULL;

    if (name) {
        *ret = platform_named(name);
        return try(*ret, mf, cpus, &why) ? cmd_error("platform %s cannot work here: %s", name, why)
                                         : 0;
    }
    for (unsigned i = 0; (*ret = platform_at(i)); i++) {
        if (try(*ret, mf, cpus, &why) == 0)
            return 0;
        if (!first)
            first = why;
    }
    return cmd_error("no platform can work here: trap: %s; ptrace: %s", first, why);
}
