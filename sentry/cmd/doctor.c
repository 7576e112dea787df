/* SPDX-License-Identifier: Apache-2.0
 * doctor.c - `ringbox doctor [--filters]`: what this host offers, what it lacks, what then happens.
 * Exit status 0 when `ringbox run` can work.
 *
 * Host: fork, getrlimit, sched_getaffinity, unshare, waitpid [not confined] */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <base/platform.h>
#include <host/io.h>
#include <isolate/isolate.h>

#include "cmd.h"

static void line(const char *what, bool ok, const char *detail)
{
    printf("%-22s %-8s %s\n", what, ok ? "ok" : "missing", detail);
}

static bool user_namespaces_work(void)
{
    int status = 1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(unshare(CLONE_NEWUSER) ? 1 : 0);
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

static void report_limits(void)
{
    struct rlimit l;
    char text[96];
    cpu_set_t set;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        snprintf(text, sizeof text, "soft %llu, hard %llu", (unsigned long long)l.rlim_cur,
                 (unsigned long long)l.rlim_max);
        line("open files", l.rlim_max >= 1024, text);
    }
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        int n = CPU_COUNT(&set);
        snprintf(text, sizeof text, "%d%s", n,
                 n > 1 ? "" : ": Sentry and guests share it, calls are slower");
        line("CPUs", n > 1, text);
    }
}

static void report_io(void)
{
    struct io *io = NULL;
    int r = io_create(IO_URING, &io);

    line("io_uring", r == 0,
         r ? "refused: epoll and helper threads are used" : "restricted, fixed operations");
    if (r == 0)
        io_destroy(io);
}

static int print_filters(void)
{
    const struct platform_ops *pf;

    for (unsigned i = 0; (pf = platform_at(i)); i++)
        pf->print_filters();
    printf("\nlist sentry: %s\nlist sentry, platform ptrace, also: %s\nlist gofer: %s\n",
           isolate_list("sentry"), isolate_list("ptrace"), isolate_list("gofer"));
    return 0;
}

int cmd_doctor(int argc, char **argv)
{
    const struct platform_ops *pf;
    struct utsname u;
    char text[256];

    if (argc > 1 && strcmp(argv[1], "--filters") == 0 && argc == 2)
        return print_filters();
    if (argc > 1 && strcmp(argv[1], "--help") == 0) {
        printf("usage: ringbox doctor [--filters]\n");
        return 0;
    }
    if (argc > 1)
        return cmd_error("doctor: unknown argument %s", argv[1]);
    if (uname(&u) == 0) {
        snprintf(text, sizeof text, "%s %s %s", u.sysname, u.release, u.machine);
        line("kernel", true, text);
    }
    bool any = false;
    for (unsigned i = 0; (pf = platform_at(i)); i++) {
        const char *why = platform_probe(pf);
        snprintf(text, sizeof text, "platform %s", pf->name);
        line(text, !why, why ? why : any ? "works" : "works, and is used");
        any |= !why;
    }
    line("platform kvm", false, "not built into this version");
    bool ns = user_namespaces_work();
    line("user namespaces", ns, ns ? "work" : "refused: ringbox run needs them, or root");
    report_io();
    report_limits();
    line("FSGSBASE", getauxval(AT_HWCAP2) & 2, "faster thread pointers; not needed");
    return !any || (!ns && geteuid() != 0) ? EXIT_FAILED : 0;
}
