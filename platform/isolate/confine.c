/* SPDX-License-Identifier: Apache-2.0
 * confine.c - the seccomp lists and the last steps of Sentry and gofer.
 *
 * A list allows whole calls, but:
 *  - clone only as the C library starts a thread; clone3, whose arguments a filter cannot see, is
 *    -ENOSYS, upon which the library uses clone;
 *  - rt_sigaction only for what the C library does at the first thread and in abort();
 *  - in the Sentry mmap and mprotect without PROT_EXEC: it never runs code it mapped;
 *  - no ioctl that types into a terminal (TIOCSTI, TIOCLINUX): the host's terminal is among the
 *    Sentry's descriptors. A filter of its own, since a list can only add.
 *
 * What the C library itself calls on behalf of any C code stands here:
 *
 * Host: brk, mmap, munmap, mremap, mprotect, madvise, futex, restart_syscall, sched_yield [sentry
 * gofer] Host: rt_sigreturn, rt_sigprocmask, exit, exit_group, tgkill, getpid, gettid [sentry
 * gofer] Host: clock_gettime, gettimeofday, time, getcpu, clock_nanosleep, getrandom, write [sentry
 * gofer] Host: clone, set_robust_list, rseq, set_tid_address, sched_getaffinity, rt_sigaction,
 * close [sentry gofer]
 * Host: pipe2, prctl, read, seccomp [before confinement]
 */
#include <isolate/isolate.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <base/compiler.h>
#include <base/log.h>

#include "isolate_lists.h"
#include "isolate_private.h"

#define EXIT_VIOLATION 159 /* 128 + SIGSYS */
#define CAP_BIT(c) (1ULL << (c))
#define LIST_INSN_MAX 2048

/* What a server of files needs on behalf of their owners. */
#define GOFER_CAPS                                                                   \
    (CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_DAC_READ_SEARCH) | \
     CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) | CAP_BIT(CAP_SETFCAP) | CAP_BIT(CAP_MKNOD))

#define THREAD_FLAGS                                                                    \
    (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | \
     CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

const char *isolate_list(const char *name)
{
    if (strcmp(name, "ptrace") == 0)
        return names_ptrace;
    return strcmp(name, "gofer") == 0 ? names_gofer : names_sentry;
}

/* --- a violation in a test build: say which, then die --- */

#ifdef RINGBOX_SECCOMP_TRAP
#define ACTION_VIOLATION SCMP_ACT_TRAP

static size_t put_text(char *buf, size_t at, const char *s)
{
    size_t n = strlen(s);
    memcpy(buf + at, s, n);
    return at + n;
}

static size_t put_number(char *buf, size_t at, uint64_t v, unsigned base)
{
    char digits[24];
    size_t n = 0;
    do
        digits[n++] = "0123456789abcdef"[v % base];
    while (v /= base);
    while (n)
        buf[at++] = digits[--n];
    return at;
}

/* Makes two calls itself; were they refused, the signal would be blocked and the host kill us. */
static void violation(int signo, siginfo_t *si, void *context)
{
    char line[128];
    size_t at = put_text(line, 0, "ringbox: seccomp: call ");
    (void)signo;
    (void)context;
    at = put_number(line, at, (uint32_t)si->si_syscall, 10);
    at = put_text(line, at, " is on no list (Host:), ip 0x");
    at = put_number(line, at, (uintptr_t)si->si_call_addr, 16);
    at = put_text(line, at, "\n");
    if (write(log_fd, line, at) < 0)
        (void)0;
    syscall(SYS_exit_group, EXIT_VIOLATION);
}

static int violation_visible(void)
{
    struct sigaction sa = {.sa_sigaction = violation, .sa_flags = SA_SIGINFO};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGSYS);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    return sigaction(SIGSYS, &sa, NULL) ? -errno : 0;
}
#else
#define ACTION_VIOLATION SCMP_ACT_KILL_PROCESS

static int violation_visible(void)
{
    return 0;
}
#endif

/* --- filters --- */

/* A list as the host takes it. */
struct list_code {
    size_t len; /* 0: not made */
    struct sock_filter insn[LIST_INSN_MAX];
};

/* All threads: 0; one that cannot: -EBUSY. */
static int code_load(const struct sock_filter *insn, size_t n)
{
    const struct sock_fprog prog = {.len = (unsigned short)n,
                                    .filter = (struct sock_filter *)(uintptr_t)insn};
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog);
    return r < 0 ? -errno : r > 0 ? -EBUSY : 0;
}

/* Typing into a terminal: dies; all else is the list's affair. Looks at the low half of the number,
 * as the host does. */
static int filter_terminals(void)
{
    const struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCSTI, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TIOCLINUX, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    return code_load(code, ARRAY_SIZE(code));
}

/* The signal with which the C library changes ids in all threads; its handler comes with the first.
 */
#define SIGNAL_SETXID 33

static int list_add_sigaction(scmp_filter_ctx ctx, int nr)
{
    int err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A0(SCMP_CMP_EQ, SIGNAL_SETXID, 0));
    return err ? err
               : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A0(SCMP_CMP_EQ, SIGABRT, 0));
}

static int list_add_rule(scmp_filter_ctx ctx, int nr, bool no_exec)
{
    if (nr == SCMP_SYS(clone))
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1, SCMP_A0(SCMP_CMP_EQ, THREAD_FLAGS, 0));
    if (nr == SCMP_SYS(rt_sigaction))
        return list_add_sigaction(ctx, nr);
    if (no_exec && (nr == SCMP_SYS(mmap) || nr == SCMP_SYS(mprotect)))
        return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 1,
                                SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, nr, 0);
}

/* What AddressSanitizer does on its own: signal stacks of threads; files it may not find. */
static int list_add_asan(scmp_filter_ctx ctx)
{
    const int refused[] = {SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(prctl),
                           SCMP_SYS(getrlimit), SCMP_SYS(prlimit64)};
    int err = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(sigaltstack), 0);
    for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
        (void)seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOENT), refused[i], 0); /* unless allowed */
    return err;
}

struct lists {
    const int *calls, *more;
    size_t n, more_n;
    bool no_exec;
};

static int list_add(scmp_filter_ctx ctx, const int *calls, size_t n, bool no_exec)
{
    int err = 0;

    for (size_t i = 0; !err && i < n; i++)
        if (calls[i] != SCMP_SYS(clone3))
            err = list_add_rule(ctx, calls[i], no_exec);
    return err;
}

/* The library writes it into a descriptor and nowhere else; a pipe holds it. */
static int code_take(scmp_filter_ctx ctx, struct list_code *ret)
{
    int p[2];
    if (pipe2(p, O_CLOEXEC | O_NONBLOCK))
        return -errno;
    int err = seccomp_export_bpf(ctx, p[1]);
    ssize_t n = err ? 0 : read(p[0], ret->insn, sizeof ret->insn);
    close(p[0]);
    close(p[1]);
    if (err || n <= 0 || n == sizeof ret->insn || (size_t)n % sizeof *ret->insn)
        return err ? err : -EIO;
    ret->len = (size_t)n / sizeof *ret->insn;
    return 0;
}

static int list_make(const struct lists *l, struct list_code *ret)
{
    scmp_filter_ctx ctx = seccomp_init(ACTION_VIOLATION);
    if (!ctx)
        return -ENOMEM;
    seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree; older libraries: a chain */
    int err = list_add(ctx, l->calls, l->n, l->no_exec);
    if (!err)
        err = list_add(ctx, l->more, l->more_n, l->no_exec);
    if (!err)
        err = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (!err && BUILD_ASAN)
        err = list_add_asan(ctx);
    if (!err)
        err = code_take(ctx, ret);
    seccomp_release(ctx);
    return err;
}

static int confine(const struct lists *l, struct list_code *code, const char **ret_what)
{
    if (BUILD_TSAN)
        return 0;
    int err = code->len ? 0 : list_make(l, code);
    if (!err)
        err = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ? -errno : violation_visible();
    if (!err)
        err = filter_terminals();
    if (!err)
        err = code_load(code->insn, code->len);
    if (err)
        *ret_what = "seccomp";
    return err;
}

/* --- last steps --- */

static const struct lists g_lists_sentry = {
    .calls = list_sentry, .n = ARRAY_SIZE(list_sentry), .no_exec = true};
static struct list_code g_code_sentry, g_code_other;

void isolate_sentry_ahead(void)
{
    if (!BUILD_TSAN && list_make(&g_lists_sentry, &g_code_sentry))
        g_code_sentry.len = 0; /* isolate_sentry() will say why */
}

int isolate_sentry(bool traces, const char **ret_what)
{
    int err = isolate_drop(ret_what);
    if (!err)
        err = isolate_enter_empty_root(ret_what);
    if (err)
        return err;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return step_failed(ret_what, "dumpable");
    if (!traces)
        return confine(&g_lists_sentry, &g_code_sentry, ret_what);
    struct lists l = g_lists_sentry;
    l.more = list_ptrace;
    l.more_n = ARRAY_SIZE(list_ptrace);
    return confine(&l, &g_code_other, ret_what);
}

int isolate_gofer(bool writable, const char **ret_what)
{
    int err = caps_keep(GOFER_CAPS);
    if (err) {
        *ret_what = "capabilities";
        return err;
    }
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return step_failed(ret_what, "no_new_privs");
    err = landlock_apply(writable);
    if (err) {
        *ret_what = "landlock";
        return err;
    }
    const struct lists l = {.calls = list_gofer, .n = ARRAY_SIZE(list_gofer)};
    return confine(&l, &g_code_other, ret_what);
}
