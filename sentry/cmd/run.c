/* SPDX-License-Identifier: Apache-2.0
 * run.c - `ringbox run`: starts gofer and Sentry, attends to them (attend.c) and relays the exit status.
 *
 *   ringbox (stays, in the caller's namespaces)
 *     gofers      forked (exports.c); each holds one directory
 *     launcher    forked; enters the namespaces, clones the Sentry as our child (CLONE_PARENT),
 *                 makes the network namespace meanwhile, leaves
 *     Sentry      pid 1 of its pid namespace: when it ends, everything below it ends
 *
 * When we die, the Sentry sees the end of the control pipe and stops; gofers see the ends of their
 * sockets. Nothing is left behind however one of us is killed.
 *
 * Host: exit_group [sentry gofer]
 * Host: clone, close, close_range, fcntl, fork, kill, open, pipe2, prctl, read, rt_sigtimedwait,
 *   sched_getaffinity, setsid, shutdown, socketpair, waitpid, write [not confined] */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/sched.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <base/err.h>
#include <base/log.h>
#include <host/io.h>
#include <host/memfile.h>
#include <isolate/isolate.h>
#include <service/boot.h>
#include <service/service.h>
#include <trap/trap.h>

#include "attend.h"
#include "cmd.h"
#include "mounts.h"

#define MALLOC_ARENAS 8
#define HOST_GROUPS_MAX 256
#define EXIT_BY_RIGHT 2 /* of a launcher: root's own way is to be taken */
#define CPUS_LIST_MAX 256

struct run {
    struct run_options o;
    int control[2], answers[2], attach[2], pid_pipe[2], net[2], trace_fd, stats_fd;
    struct control at;
    char cwd[PATH_MAX];
    char guest_cpus[CPUS_LIST_MAX];
    int poller_cpus[64];
    unsigned cpus;
    bool pin, roam;
    uint32_t groups[HOST_GROUPS_MAX];
    uint32_t group_count;
    pid_t sentry;
};

/* --- choices --- */

/* Sentry on the first allowed CPU, guests on the others; with one CPU or explicit counts nothing is
 * pinned that was not asked for. */
static void choose_cpus(struct run *r)
{
    cpu_set_t set;
    int allowed[CPU_SETSIZE], n = 0;
    size_t len = 0;

    if (sched_getaffinity(0, sizeof set, &set))
        return;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((unsigned)i, &set))
            allowed[n++] = i;
    if (r->o.pollers == 0)
        r->o.pollers = 1;
    r->cpus = (unsigned)n;
    r->roam = r->o.pollers == 1 && !r->o.sentry_cpu_count && !r->o.guest_cpus;
    if (r->o.sentry_cpu_count) {
        r->pin = true;
        memcpy(r->poller_cpus, r->o.sentry_cpus, sizeof r->poller_cpus);
    } else if (r->o.pollers < n) {
        r->pin = true;
        memcpy(r->poller_cpus, allowed, sizeof(int) * (size_t)r->o.pollers);
        for (int i = r->o.pollers; i < n && len < sizeof r->guest_cpus - 8; i++)
            len += (size_t)snprintf(r->guest_cpus + len, sizeof r->guest_cpus - len, "%s%d",
                                    len ? "," : "", allowed[i]);
    }
    if (r->o.guest_cpus)
        snprintf(r->guest_cpus, sizeof r->guest_cpus, "%s", r->o.guest_cpus);
}

static int open_output(const char *file, int *ret)
{
    *ret = STDERR_FILENO;
    if (!file || !*file)
        return 0;
    *ret = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    return *ret < 0 ? cmd_error("%s: %s", file, strerror(errno)) : 0;
}

static int prepare(struct run *r)
{
    struct run_options *o = &r->o;

    int e = mounts_prepare(&o->mounts, o->rootfs, o->root_rw, o->root_exclusive);
    if (e)
        return e;
    if (o->cwd)
        snprintf(r->cwd, sizeof r->cwd, "%s", o->cwd);
    else if ((o->rootfs && strcmp(o->rootfs, "/") != 0) || !getcwd(r->cwd, sizeof r->cwd))
        strcpy(r->cwd, "/");
    if (!o->user_given) {
        gid_t list[HOST_GROUPS_MAX];
        int n = getgroups(HOST_GROUPS_MAX, list);
        for (int i = 0; i < n; i++)
            r->groups[r->group_count++] = list[i];
    }
    e = open_output(o->trace_file, &r->trace_fd);
    if (e == 0)
        e = open_output(o->stats_file, &r->stats_fd);
    if (e)
        return e;
    if (pipe2(r->control, O_CLOEXEC | O_NONBLOCK) || pipe2(r->answers, O_CLOEXEC | O_NONBLOCK) ||
        pipe2(r->pid_pipe, O_CLOEXEC) ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, r->net) ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, r->attach))
        return cmd_error("cannot create pipes: %s", strerror(errno));
    choose_cpus(r);
    return 0;
}

/* Without a name it is only for convenience: a host without a place for it runs sandboxes all the same. */
static int open_control(struct run *r)
{
    int e = control_listen(&r->at, r->o.name);

    if (!r->o.name || e == 0)
        return 0;
    return e == -EADDRINUSE
               ? cmd_error("--name %s: a sandbox of that name is running", r->o.name)
               : cmd_error("--name %s: no place for its socket: %s", r->o.name, strerror(-e));
}

/* Close everything but stdio and the given descriptors. */
static void close_others(const int *keep, int n)
{
    unsigned from = 3;

    for (;;) {
        int next = INT_MAX;
        for (int i = 0; i < n; i++)
            if (keep[i] >= (int)from && keep[i] < next)
                next = keep[i];
        if (next == INT_MAX) {
            close_range(from, ~0U, 0);
            return;
        }
        if (next > (int)from)
            close_range(from, (unsigned)next - 1, 0);
        from = (unsigned)next + 1;
    }
}

static void signals_reset(void)
{
    sigset_t none;

    for (int s = 1; s < NSIG; s++)
        signal(s, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* --- the Sentry --- */

static struct {
    const struct boot_config *boot;
    bool done;
    int result;
} g_ahead;

/* What waits for nobody, to be done while something is waited for. */
static void setup_ahead(void)
{
    if (g_ahead.done)
        return;
    g_ahead.done = true;
    isolate_sentry_ahead();
    g_ahead.result = boot_ahead(g_ahead.boot);
}

static int sentry_setup(struct run *r, struct boot_config *boot, struct memfile **mf)
{
    const struct platform_ops *pf;
    const char *what;
    int e = memfile_create(r->o.memory_bytes, mf);
    if (e)
        return cmd_error("memory file: %s", strerror(-e));
    e = isolate_net_take(r->net[1], &what);
    if (e == -ECHILD)
        return EXIT_FAILED;
    close(r->net[1]);
    if (e == 0)
        e = isolate_drop(&what);
    if (e)
        return cmd_error("cannot drop privileges: %s: %s", what, strerror(-e));
    /* Stuck and stopped as it may be, it ends with the CLI. Not earlier: new ids forget it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    g_ahead.boot = boot;
    trap_meanwhile = setup_ahead;
    e = platform_start(r->o.platform, *mf, r->guest_cpus[0] ? r->guest_cpus : NULL, &pf);
    if (e)
        return e;
    struct service_config sc = {.pollers = (unsigned)r->o.pollers,
                                .poller_cpus = r->pin ? r->poller_cpus : NULL,
                                .cpus = r->cpus,
                                .roam = r->pin && r->roam,
                                .platform = pf,
                                .memfile = *mf,
                                .poller_words = pf->poller_words(),
                                .io_engine = r->o.io_engine,
                                .trace = r->o.trace_file != NULL,
                                .trace_fd = r->trace_fd,
                                .stats = r->o.stats,
                                .patch = !r->o.no_patch,
                                .patch_after = r->o.patch_after};
    e = service_init(&sc);
    if (e)
        return cmd_error("%s: %s", r->o.io_engine == IO_URING ? "--io uring: io_uring" : "pollers",
                         strerror(-e));
    boot->memfile = *mf;
    setup_ahead();
    e = g_ahead.result ? g_ahead.result : boot_prepare(boot);
    if (e)
        return cmd_error("kernel tables: %s", strerror(-e));
    /* Left to itself, malloc opens files: to count CPUs at the first contention, and to ask for the
     * overcommit policy before it gives memory of a thread's arena back. */
    (void)mallopt(M_ARENA_MAX, MALLOC_ARENAS);
    (void)mallopt(M_TRIM_THRESHOLD, -1);
    e = isolate_sentry(platform_traces(pf), &what);
    if (e)
        return cmd_error("cannot confine the Sentry: %s: %s", what, strerror(-e));
    e = service_start_threads(); /* confined as this one is */
    if (e)
        return cmd_error("poller threads: %s", strerror(-e));
    return 0;
}

NORETURN static void sentry_main(struct run *r)
{
    struct memfile *mf;
    mode_t mask = umask(022);
    struct boot_config boot = {.root_sock = r->o.mounts.export[0].sock[1],
                               .root_source = r->o.rootfs ? r->o.rootfs : "/",
                               .root_rw = r->o.root_rw,
                               .root_exclusive = r->o.root_exclusive,
                               .mounts = r->o.mounts.boot,
                               .mount_count = r->o.mounts.boots,
                               .control = r->control[0],
                               .answers = r->answers[1],
                               .attach = r->attach[0],
                               .command = {.argv = r->o.command,
                                           .envp = r->o.env,
                                           .cwd = r->cwd,
                                           .uid = r->o.uid,
                                           .gid = r->o.gid,
                                           .groups = r->groups,
                                           .group_count = r->group_count,
                                           .umask = mask,
                                           .nice = getpriority(PRIO_PROCESS, 0),
                                           .terminal = true},
                               .hostname = r->o.hostname,
                               .pid_max = r->o.pids,
                               .unveil = r->o.unveil,
                               .unveil_count = r->o.unveil_count,
                               .pledge = r->o.pledge_given ? &r->o.pledge : NULL};

    signals_reset();
    signal(SIGPIPE, SIG_IGN);
    setsid();
    int keep[MOUNTS_FDS_MAX + 6];
    int kept = mounts_sentry_fds(&r->o.mounts, keep);
    keep[kept++] = r->net[1];
    keep[kept++] = r->control[0];
    keep[kept++] = r->answers[1];
    keep[kept++] = r->attach[0];
    keep[kept++] = r->trace_fd;
    keep[kept++] = r->stats_fd;
    close_others(keep, kept);
    for (int i = 0; i < 3; i++)
        boot.command.stdio[i] = fcntl(i, F_DUPFD_CLOEXEC, 3);
    if (sentry_setup(r, &boot, &mf))
        _exit(EXIT_FAILED);
    int e = service_run(boot_run, &boot);
    if (e)
        _exit(cmd_error("service: %s", strerror(-e)));
    if (r->o.stats)
        service_stats_print(r->stats_fd, r->o.stats_json);
    _exit(service_exit_status());
}

NORETURN static void launcher_main(struct run *r, enum isolate_user how)
{
    const char *what;

    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    int e = isolate_namespaces(how, &what);
    if (e == -EOPNOTSUPP)
        _exit(EXIT_BY_RIGHT);
    if (e)
        _exit(
            cmd_error("cannot isolate the Sentry: %s: %s (user namespaces are needed without root)",
                      what, strerror(-e)));
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0)
        sentry_main(r);
    if (pid < 0)
        _exit(cmd_error("cannot start the Sentry: %s", strerror(errno)));
    if (write(r->pid_pipe[1], &pid, sizeof pid) != sizeof pid)
        _exit(EXIT_FAILED);
    close(r->net[1]); /* the Sentry's death is to be seen */
    e = isolate_net_give(r->net[0], &what);
    _exit(e ? cmd_error("cannot isolate the Sentry: %s: %s", what, strerror(-e)) : 0);
}

static void gofer_child(const int *keep, int n)
{
    signals_reset();
    signal(SIGPIPE, SIG_IGN);
    setsid();
    close_others(keep, n);
}

/* The launcher's exit status: 0 when there is a Sentry, which goes on meanwhile. */
static int launch(struct run *r, enum isolate_user how)
{
    int status;
    pid_t launcher = fork();

    if (launcher < 0)
        return cmd_error("cannot start the launcher: %s", strerror(errno));
    if (launcher == 0)
        launcher_main(r, how);
    while (waitpid(launcher, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : cmd_error("the launcher died");
}

static int start_sentry(struct run *r)
{
    int e = launch(r, ISOLATE_OWN_USER);

    if (e == EXIT_BY_RIGHT)
        e = launch(r, ISOLATE_BY_RIGHT);
    close(r->pid_pipe[1]);
    close(r->net[0]);
    close(r->net[1]);
    if (read(r->pid_pipe[0], &r->sentry, sizeof r->sentry) != sizeof r->sentry)
        return e ? e : cmd_error("the launcher died");
    if (e) { /* it waits for what the launcher could not make */
        kill(r->sentry, SIGKILL);
        waitpid(r->sentry, NULL, 0);
        return e;
    }
    mounts_started(&r->o.mounts);
    close(r->control[0]);
    close(r->answers[1]);
    close(r->attach[0]);
    return 0;
}

/* --- we --- */

static void servers_end(void *mounts)
{
    mounts_end(mounts);
}

int cmd_run(int argc, char **argv)
{
    static const int relayed[] = {SIGINT,  SIGTERM, SIGQUIT,  SIGHUP,  SIGUSR1, SIGUSR2,
                                  SIGALRM, SIGCONT, SIGWINCH, SIGCHLD, SIGTSTP};
    static struct run r;
    sigset_t set;
    bool done;
    int e = run_options_parse(argc, argv, &r.o, &done);

    if (e || done)
        return e;
    e = prepare(&r);
    if (e)
        return e;
    if (r.o.show_view) {
        view_show(&r.o.mounts, r.o.rootfs ? r.o.rootfs : "/", r.o.root_rw, r.o.root_exclusive);
        return 0;
    }
    sigemptyset(&set);
    for (unsigned i = 0; i < ARRAY_SIZE(relayed); i++)
        sigaddset(&set, relayed[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    e = open_control(&r);
    if (e)
        return e;
    e = mounts_start(&r.o.mounts, gofer_child);
    if (e == 0)
        e = start_sentry(&r);
    if (e) {
        mounts_kill(&r.o.mounts);
        control_remove(&r.at);
        return e;
    }
    struct attended a = {.sentry = r.sentry,
                         .ending = servers_end,
                         .ending_arg = &r.o.mounts,
                         .control = r.control[1],
                         .answers = r.answers[0],
                         .attach = r.attach[1],
                         .at = &r.at,
                         .command = r.o.command,
                         .timeout_s = r.o.timeout_s};
    int status = attend(&a, &set);
    control_remove(&r.at);
    close(r.control[1]);
    mounts_reap(&r.o.mounts);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    if (a.killed && WTERMSIG(status) == SIGKILL)
        return 128 + SIGKILL;
    return cmd_error("the Sentry was killed by signal %d (%s)", WTERMSIG(status),
                     strsignal(WTERMSIG(status)));
}
