/* SPDX-License-Identifier: Apache-2.0
 * table_test.c - what derives from table.def: every handler is replaced by one that records its
 * arguments, so the test sees names, numbers, dispatch, conversions and the decoder alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <asm/unistd_64.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <base/err.h>
#include <syscall/sys.h>

static const char *called;
static int64_t seen[6];

static sysret_t record(const char *name, const int64_t *args, unsigned n)
{
    called = name;
    memcpy(seen, args, n * sizeof(seen[0]));
    return 4242;
}

/* An argument as 64 bits, whatever its type. */
#define VALUE_INT(a) (a)
#define VALUE_FD(a) (a)
#define VALUE_PID(a) (a)
#define VALUE_SIG(a) (a)
#define VALUE_UINT(a) (a)
#define VALUE_FLAGS(a) (a)
#define VALUE_MODE(a) (a)
#define VALUE_LONG(a) (a)
#define VALUE_ULONG(a) (int64_t)(a)
#define VALUE_SIZE(a) (int64_t)(a)
#define VALUE_OFF(a) (a)
#define VALUE_ADDR(a) (int64_t)(a)
#define VALUE_PATH(a) (int64_t)(a).va
#define VALUE_STR(a) (int64_t)(a).va
#define VALUE_IN(a) (int64_t)(a).va
#define VALUE_OUT(a) (int64_t)(a).va
#define VALUE_INOUT(a) (int64_t)(a).va
#define VALUE_BUF_OUT(a) (int64_t)(a).va
#define VALUE_BUF_IN(a) (int64_t)(a).va

#define SYSCALL_NONE(n, err, note)
#define FAKE(n, count, ...)                                 \
    {                                                       \
        (void)c;                                            \
        return record(#n, (int64_t[]){__VA_ARGS__}, count); \
    }
#define SYSCALL0(n, w, q, s, t) sysret_t sys_##n(struct call *c) FAKE(n, 0, 0)
#define SYSCALL1(n, w, q, s, t, k0, a0) \
    sysret_t sys_##n(struct call *c, arg_##k0 a0) FAKE(n, 1, VALUE_##k0(a0))
#define SYSCALL2(n, w, q, s, t, k0, a0, k1, a1)                \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1) \
        FAKE(n, 2, VALUE_##k0(a0), VALUE_##k1(a1))
#define SYSCALL3(n, w, q, s, t, k0, a0, k1, a1, k2, a2)                     \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2) \
        FAKE(n, 3, VALUE_##k0(a0), VALUE_##k1(a1), VALUE_##k2(a2))
#define SYSCALL4(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3)                          \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3) \
        FAKE(n, 4, VALUE_##k0(a0), VALUE_##k1(a1), VALUE_##k2(a2), VALUE_##k3(a3))
#define SYSCALL5(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4)                  \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3, \
                     arg_##k4 a4)                                                        \
        FAKE(n, 5, VALUE_##k0(a0), VALUE_##k1(a1), VALUE_##k2(a2), VALUE_##k3(a3), VALUE_##k4(a4))
#define SYSCALL6(n, w, q, s, t, k0, a0, k1, a1, k2, a2, k3, a3, k4, a4, k5, a5)                    \
    sysret_t sys_##n(struct call *c, arg_##k0 a0, arg_##k1 a1, arg_##k2 a2, arg_##k3 a3,           \
                     arg_##k4 a4, arg_##k5 a5)                                                     \
        FAKE(n, 6, VALUE_##k0(a0), VALUE_##k1(a1), VALUE_##k2(a2), VALUE_##k3(a3), VALUE_##k4(a4), \
             VALUE_##k5(a5))
#include "table.def"

/* Guest memory of the decoder: one string at 0x1000. */
static const char *guest_string = "";

ssize_t copy_in_string(struct mm *mm, char *dst, uaddr_t src, size_t size)
{
    (void)mm;
    if (src.va != 0x1000)
        return -EFAULT;
    if (strlen(guest_string) >= size)
        return -ENAMETOOLONG;
    strcpy(dst, guest_string);
    return (ssize_t)strlen(guest_string);
}

int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    (void)mm;
    if (src.va != 0x1000 || strlen(guest_string) < n)
        return -EFAULT;
    memcpy(dst, guest_string, n);
    return 0;
}

/* Promises: of the one process there is, and what the last refusal lacked. */
static struct process process = {.pid = 42};
static struct task other = {.tid = 43, .process = &process};
static uint32_t promised = PLEDGE_NOTHING_PROMISED, lacked;
_Atomic(bool) g_pledge_used;

uint32_t pledge_of(const struct task *t)
{
    (void)t;
    return promised;
}

int pledge_refuse(struct task *t, uint32_t need)
{
    (void)t;
    lacked = need;
    return -EPERM;
}

struct task *task_find(int32_t tid)
{
    return tid == other.tid ? &other : NULL;
}

void task_put(struct task *t)
{
    (void)t;
}

/* Each row once: a second one of the same number would leave fewer rows than lines. */
static void test_rows_are_unique(void **state)
{
    (void)state;
    unsigned lines = 0, rows = 0;
#undef SYSCALL0
#undef SYSCALL1
#undef SYSCALL2
#undef SYSCALL3
#undef SYSCALL4
#undef SYSCALL5
#undef SYSCALL6
#undef SYSCALL_NONE
#define SYSCALL0(...) lines++;
#define SYSCALL1(...) lines++;
#define SYSCALL2(...) lines++;
#define SYSCALL3(...) lines++;
#define SYSCALL4(...) lines++;
#define SYSCALL5(...) lines++;
#define SYSCALL6(...) lines++;
#define SYSCALL_NONE(...) lines++;
#include "table.def"
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++)
        rows += sys_row(nr)->name != NULL;
    assert_int_equal(rows, lines);
}

static void test_rows_are_complete(void **state)
{
    (void)state;
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        const struct sys_row *r = sys_row(nr);
        if (!r->name)
            continue;
        assert_non_null(sys_name(nr));
        assert_string_equal(r->name, sys_name(nr));
        assert_int_equal(r->run == NULL, r->support == SUPPORT_NONE);
        if (r->support == SUPPORT_NONE)
            assert_true(r->none_errno > 0);
        if (r->support != SUPPORT_FULL)
            assert_true(r->note[0]); /* says what is missing */
        for (unsigned i = 0; i < r->argc; i++)
            assert_true(r->arg_names[i] && r->arg_kinds[i]);
    }
}

static void test_names_match_the_headers(void **state)
{
    (void)state;
    unsigned named = 0, known = 0;
#define SYSCALL_NUMBER(n)                        \
    assert_string_equal(sys_name(__NR_##n), #n); \
    known++;
#include "numbers.def"
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++)
        named += sys_name(nr) != NULL;
    assert_true(known > 300);
    assert_true(named >= known);
    assert_null(sys_name(SYS_NR_MAX));
    assert_null(sys_name(UINT32_MAX));
}

static struct task task;
static struct call call;

static void test_dispatch(void **state)
{
    (void)state;
    call.task = &task;
    call.nr = __NR_prlimit64;
    const uint64_t args[6] = {0xffffffff00000005, 0x1ffffffff, 0x7000, 0x8000, 9, 9};
    memcpy(call.args, args, sizeof(args));
    assert_int_equal(sys_dispatch(&call), 4242);
    assert_string_equal(called, "prlimit64");
    assert_int_equal(seen[0], 5);          /* PID: the low half */
    assert_int_equal(seen[1], UINT32_MAX); /* UINT */
    assert_int_equal(seen[2], 0x7000);
    call.nr = __NR_exit;
    call.args[0] = 0xffffffff;
    assert_int_equal(sys_dispatch(&call), 4242);
    assert_int_equal(seen[0], -1);
}

static void test_unknown_numbers(void **state)
{
    (void)state;
    const uint32_t unknown[] = {335, 400, 511, 512, 4095, 0x40000000 | __NR_getpid, UINT32_MAX};
    for (unsigned i = 0; i < ARRAY_SIZE(unknown); i++) {
        call.nr = unknown[i];
        assert_int_equal(sys_dispatch(&call), -ENOSYS);
        assert_int_equal(sys_dispatch(&call), -ENOSYS);
        assert_null(sys_row(unknown[i])->name);
    }
    call.nr = __NR_ptrace;
    assert_int_equal(sys_dispatch(&call), -EPERM);
}

static void format_is(uint32_t nr, uint64_t a0, uint64_t a1, const char *expected)
{
    char buf[256];
    call.task = &task;
    call.nr = nr;
    memset(call.args, 0, sizeof(call.args));
    call.args[0] = a0;
    call.args[1] = a1;
    int n = sys_format(&call, buf, sizeof(buf));
    assert_string_equal(buf, expected);
    assert_int_equal(n, strlen(expected));
}

static void test_format(void **state)
{
    (void)state;
    static char long_name[200];
    char small[8];
    task.mm = (struct mm *)&task; /* never looked at */
    guest_string = "/bin/\"\n\xff";
    format_is(__NR_execve, 0x1000, 0x20, "execve(\"/bin/\\x22\\x0a\\xff\", 0x20, NULL)");
    format_is(__NR_execve, 0x2000, 0, "execve(0x2000, NULL, NULL)");
    format_is(__NR_setpgid, UINT64_MAX, 7, "setpgid(-1, 7)");
    format_is(__NR_getpid, 1, 2, "getpid()");
    format_is(505, 1, 0, "syscall_505(0x1, NULL, NULL, NULL, NULL, NULL)");
    memset(long_name, 'x', sizeof(long_name) - 1);
    guest_string = long_name;
    call.nr = __NR_execve;
    call.args[0] = 0x1000;
    char buf[256];
    sys_format(&call, buf, sizeof(buf));
    assert_non_null(strstr(buf, "xxx\"..., "));
    assert_int_equal(sys_format(&call, small, sizeof(small)), sizeof(small) - 1);
    assert_int_equal(sys_format(&call, small, 0), 0);
}

/* --- promises --- */

static bool let_in(uint32_t nr, uint32_t set)
{
    promised = set | PLEDGE_ALWAYS;
    called = NULL;
    call.nr = nr;
    call.task = &task;
    call.started = false;
    task.process = &process;
    bool in = sys_dispatch(&call) == 4242;
    assert_int_equal(in, called != NULL); /* what is refused has not begun */
    return in;
}

/* Whatever the arguments, a row is closed to those who have none of its promises. */
static void test_promises_let_in(void **state)
{
    (void)state;
    g_pledge_used = true;
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++) {
        const struct sys_row *r = sys_row(nr);
        if (!r->run)
            continue;
        memset(call.args, 0, sizeof(call.args));
        assert_int_equal(let_in(nr, 0), r->promises == PLEDGE_ALWAYS);
        if (!sys_promise(nr)->by)
            assert_int_equal(let_in(nr, PLEDGE_ALL), r->promises != PLEDGE_NEVER);
        assert_true(let_in(nr, PLEDGE_NOTHING_PROMISED));
        for (unsigned i = 0; i < PLEDGE_WORDS; i++)
            if (!(r->promises & (1u << i | PLEDGE_ALWAYS)))
                assert_false(let_in(nr, 1u << i));
            else if (!sys_promise(nr)->by)
                assert_true(let_in(nr, 1u << i));
        assert_int_equal(let_in(nr, PLEDGE_ALL & ~r->promises), r->promises == PLEDGE_ALWAYS);
    }
    call.nr = __NR_read; /* what has begun goes on */
    promised = PLEDGE_ALWAYS;
    call.started = true;
    assert_int_equal(sys_dispatch(&call), 4242);
    call.started = false;
    g_pledge_used = false;
}

#define STDIO PLEDGE_STDIO
static const struct {
    uint32_t nr;
    uint64_t args[6];
    uint32_t row, need; /* with @row alone it lacks @need */
} by_arguments[] = {
    {__NR_mprotect, {0, 0, PROT_READ | PROT_WRITE}, STDIO, 0},
    {__NR_mprotect, {0, 0, PROT_READ | PROT_EXEC}, STDIO, PLEDGE_PROT_EXEC},
    {__NR_pkey_mprotect, {0, 0, PROT_EXEC}, STDIO, PLEDGE_PROT_EXEC},
    {__NR_shmat, {0, 0, 0}, PLEDGE_IPC, 0},
    {__NR_shmat, {0, 0, SHM_EXEC}, PLEDGE_IPC, PLEDGE_PROT_EXEC},
    {__NR_clone, {CLONE_VM | CLONE_SIGHAND | CLONE_THREAD}, STDIO, 0},
    {__NR_clone, {CLONE_VM | CLONE_VFORK}, STDIO, PLEDGE_PROC},
    {__NR_clone, {SIGCHLD}, STDIO, PLEDGE_PROC},
    {__NR_kill, {42, SIGKILL}, STDIO, 0},
    {__NR_kill, {0xffffffff0000002a, SIGKILL}, STDIO, 0}, /* the low half is the number */
    {__NR_kill, {0, SIGKILL}, STDIO, PLEDGE_PROC},
    {__NR_kill, {UINT64_MAX, SIGKILL}, STDIO, PLEDGE_PROC},
    {__NR_kill, {43, 0}, STDIO, PLEDGE_PROC},
    {__NR_tgkill, {42, 43, 9}, STDIO, 0},
    {__NR_tgkill, {44, 44, 9}, STDIO, PLEDGE_PROC},
    {__NR_tkill, {43, 9}, STDIO, 0},
    {__NR_tkill, {44, 9}, STDIO, PLEDGE_PROC},
    {__NR_rt_sigqueueinfo, {42}, STDIO, 0},
    {__NR_rt_sigqueueinfo, {7}, STDIO, PLEDGE_PROC},
    {__NR_rt_tgsigqueueinfo, {7}, STDIO, PLEDGE_PROC},
    {__NR_prlimit64, {0, 0, 0, 1}, STDIO, 0},
    {__NR_prlimit64, {42, 0, 0, 1}, STDIO, 0},
    {__NR_prlimit64, {0, 0, 1}, STDIO, PLEDGE_PROC},
    {__NR_prlimit64, {1, 0, 0, 1}, STDIO, PLEDGE_PROC},
    {__NR_prctl, {PR_SET_NAME}, STDIO, 0},
    {__NR_prctl, {PR_SET_CHILD_SUBREAPER}, STDIO, PLEDGE_PROC},
    {__NR_prctl, {PR_CAPBSET_DROP}, STDIO, PLEDGE_ID},
    {__NR_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET}, STDIO, 0},
    {__NR_prctl, {PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE}, STDIO, PLEDGE_ID},
    {__NR_prctl, {9999}, STDIO, PLEDGE_NEVER},
    {__NR_mknod, {0, S_IFREG}, PLEDGE_CPATH, 0},
    {__NR_mknod, {0, 0600}, PLEDGE_DPATH, PLEDGE_CPATH},
    {__NR_mknod, {0, S_IFIFO}, PLEDGE_CPATH, PLEDGE_DPATH},
    {__NR_mknodat, {0, 0, S_IFSOCK}, PLEDGE_CPATH, PLEDGE_DPATH},
    {__NR_fcntl, {0, F_DUPFD}, STDIO, 0},
    {__NR_fcntl, {0, F_OFD_SETLKW}, STDIO, PLEDGE_FLOCK},
    {__NR_fcntl, {0, F_GETLK}, STDIO, PLEDGE_FLOCK},
    {__NR_fcntl, {0, F_SETOWN}, STDIO, PLEDGE_PROC},
    {__NR_fcntl, {0, F_SETLEASE}, STDIO, PLEDGE_NEVER},
    {__NR_ioctl, {0, FIONREAD}, STDIO, 0},
    {__NR_ioctl, {0, TCGETS}, STDIO, 0},
    {__NR_ioctl, {0, 0xffffffff00000000 | TCGETS}, STDIO, 0},
    {__NR_ioctl, {0, TCSETS}, STDIO, PLEDGE_TTY},
    {__NR_ioctl, {0, TIOCSTI}, STDIO, PLEDGE_TTY},
    {__NR_ioctl, {0, TIOCGPTPEER}, STDIO, PLEDGE_TTY},
    {__NR_ioctl, {0, FIOSETOWN}, STDIO, PLEDGE_PROC},
    {__NR_ioctl, {0, 0x8912}, STDIO, PLEDGE_INET}, /* SIOCGIFCONF */
    {__NR_ioctl, {0, 0x8912}, STDIO | PLEDGE_ROUTE, 0},
    {__NR_ioctl, {0, 0x40049409}, STDIO, PLEDGE_NEVER}, /* FICLONE */
    {__NR_socket, {AF_UNIX}, PLEDGE_UNIX, 0},
    {__NR_socket, {AF_INET6}, PLEDGE_UNIX, PLEDGE_INET},
    {__NR_socket, {AF_NETLINK}, PLEDGE_INET, PLEDGE_ROUTE},
    {__NR_socket, {AF_PACKET}, PLEDGE_INET, 0}, /* there is none */
    {__NR_setsockopt, {0, SOL_SOCKET}, STDIO, 0},
    {__NR_setsockopt, {0, 6 /* TCP */}, STDIO, PLEDGE_INET},
    {__NR_getsockopt, {0, SOL_NETLINK}, STDIO, PLEDGE_ROUTE},
};

static void test_promises_by_arguments(void **state)
{
    (void)state;
    bool seen_by[SYS_NR_MAX] = {false};
    g_pledge_used = true;
    for (unsigned i = 0; i < ARRAY_SIZE(by_arguments); i++) {
        uint32_t nr = by_arguments[i].nr, row = by_arguments[i].row, need = by_arguments[i].need;
        memcpy(call.args, by_arguments[i].args, sizeof(call.args));
        lacked = 0;
        if (let_in(nr, row) != !need || lacked != need)
            fail_msg("%s, line %u: lacks %#x, not %#x", sys_name(nr), i, need, lacked);
        assert_int_equal(let_in(nr, row | (need & PLEDGE_ALL)), need != PLEDGE_NEVER);
        seen_by[nr] = true;
    }
    for (uint32_t nr = 0; nr < SYS_NR_MAX; nr++)
        if (sys_promise(nr)->by && !seen_by[nr])
            fail_msg("%s is not tried with its arguments", sys_name(nr));
    g_pledge_used = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_unique),
        cmocka_unit_test(test_rows_are_complete),
        cmocka_unit_test(test_names_match_the_headers),
        cmocka_unit_test(test_dispatch),
        cmocka_unit_test(test_unknown_numbers),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_promises_let_in),
        cmocka_unit_test(test_promises_by_arguments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
