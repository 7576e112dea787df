/* SPDX-License-Identifier: Apache-2.0
 * trap_stash_test.c - what processes say before they are registered (platform/trap/notify.c). The listener
 * is played here: the host's part is to notify again, under another id, when a process was stopped and
 * continued inside its call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>

#include "internal.h"

#define STASH_MAX 16 /* of notify.c */

static struct said g_script[64];
static unsigned g_at, g_end;
static pid_t g_killed;
static uint64_t g_answered; /* id */
static uint64_t g_void;     /* notifications before this id are no longer there */

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_kill(pid_t pid, int signo);

int __wrap_poll(struct pollfd *p, nfds_t n, int timeout)
{
    (void)timeout;
    memset(&p[0].revents, 0, sizeof p[0].revents);
    if (n > 1)
        p[1].revents = 0;
    if (g_at == g_end)
        fail_msg("waits for what will never come");
    p[0].revents = POLLIN;
    return 1;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    (void)fd;
    if (request == SECCOMP_IOCTL_NOTIF_RECV) {
        struct seccomp_notif *u = arg;
        const struct said *s = &g_script[g_at++];
        u->pid = (uint32_t)s->pid;
        u->id = s->id;
        u->data.nr = STUB_NR_PARK + 1;
        u->data.args[0] = s->op;
        u->data.args[1] = s->val;
        return 0;
    }
    assert_int_equal(request, SECCOMP_IOCTL_NOTIF_SEND);
    g_answered = ((struct seccomp_notif_resp *)arg)->id;
    errno = ENOENT;
    return g_answered < g_void ? -1 : 0;
}

int __wrap_kill(pid_t pid, int signo)
{
    assert_int_equal(signo, SIGKILL);
    g_killed = pid;
    return 0;
}

static struct stub_op g_request[4];
static struct pf_as g_as;
static struct pf_as g_other = {.pid = 7, .pidfd = -1};

static void says(pid_t pid, uint64_t id)
{
    g_script[g_end++] = (struct said){pid, id, STUB_REQ, 0};
}

/* All that is in the script so far arrives while somebody else is waited for. */
static void arrives(void)
{
    while (g_at < g_end) {
        atomic_store(&g_other.idle, false);
        says(7, 1000 + g_end);
        assert_int_equal(mapper_wait(&g_other), 0);
    }
}

static int begin(void **state)
{
    (void)state;
    notify_init();
    g_at = g_end = 0;
    g_killed = 0;
    g_answered = g_void = 0;
    g_as = (struct pf_as){.pid = 42, .pidfd = -1, .req = (void *)g_request};
    notify_register(&g_other);
    return 0;
}

static void said_before(void **state)
{
    (void)state;
    says(42, 1);
    arrives();
    notify_register(&g_as);
    assert_int_equal(mapper_wait(&g_as), 0);
    assert_int_equal(mapper_said(&g_as).id, 1);
    notify_unregister(&g_as);
}

/* The first is void: an answer to it fails, and nothing else would ever be said. */
static void said_twice(void **state)
{
    (void)state;
    says(42, 1);
    says(43, 2);
    says(42, 3);
    arrives();
    g_void = 3;
    notify_register(&g_as);
    assert_int_equal(mapper_post(&g_as, 0), 0);
    assert_int_equal(g_answered, 3);
    notify_unregister(&g_as);
}

static void full(void **state)
{
    (void)state;
    for (unsigned i = 0; i < STASH_MAX; i++)
        says(42 + (pid_t)i, 1 + i);
    says(42, 99); /* has its place */
    arrives();
    assert_int_equal(g_killed, 0);
    says(4000, 100);
    arrives();
    assert_int_equal(g_killed, 4000);
    notify_register(&g_as);
    assert_int_equal(mapper_said(&g_as).id, 99);
    notify_unregister(&g_as);
    says(4001, 101); /* a place is free again */
    g_killed = 0;
    arrives();
    assert_int_equal(g_killed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(said_before, begin),
        cmocka_unit_test_setup(said_twice, begin),
        cmocka_unit_test_setup(full, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
