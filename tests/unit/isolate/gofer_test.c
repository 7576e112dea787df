/* SPDX-License-Identifier: Apache-2.0
 * The confinement of the file server, in a child: what it reaches, writes, executes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <base/log.h>
#include <isolate/isolate.h>

#include "isolate_fixture.h"

struct gofer {
    char dir[64];
    int dirfd;
    bool writable, named;
};

static void gofer_body(void *arg)
{
    struct gofer *g = arg;
    const char *what = "";
    CHECK(become_ordinary());
    int outside = open("/", O_PATH | O_DIRECTORY);
    if (g->named)
        CHECK(!isolate_gofer_allow(g->dirfd, g->writable));
    int err = isolate_gofer(g->writable, &what);
    if (err)
        dprintf(2, "isolate_gofer: %s: %d\n", what, err);
    CHECK(!err);
    int fd = openat(g->dirfd, "file", O_RDONLY);
    CHECK(fd >= 0);
    char c;
    CHECK(read(fd, &c, 1) == 1);
    close(fd);
    fd = openat(g->dirfd, "new", O_CREAT | O_WRONLY, 0600);
    CHECK((fd >= 0) == g->writable);
    if (fd >= 0) {
        CHECK(write(fd, "x", 1) == 1);
        close(fd);
        CHECK(!renameat2(g->dirfd, "new", g->dirfd, "sub/new", 0)); /* to another directory */
        CHECK(!unlinkat(g->dirfd, "sub/new", 0));
    }
    CHECK(mknodat(g->dirfd, "dev", S_IFCHR | 0600, 0x103) < 0);
    fd = openat(outside, "etc/passwd", O_RDONLY);
    CHECK((fd >= 0) == !g->named);
}

static void gofer_check(bool writable, bool named)
{
    struct gofer g = {.writable = writable, .named = named};
    char path[128];
    const char *needed[] = {"openat", "read", "renameat", "unlinkat", "mknodat"};
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!has_word(isolate_list("gofer"), needed[i]))
            skip(); /* the server is not part of this build */
    if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 2)
        skip();
    strcpy(g.dir, "/tmp/ringbox-gofer-test-XXXXXX");
    assert_non_null(mkdtemp(g.dir));
    assert_int_equal(chmod(g.dir, 0777), 0);
    g.dirfd = open(g.dir, O_PATH | O_DIRECTORY);
    snprintf(path, sizeof path, "%s/file", g.dir);
    int fd = open(path, O_CREAT | O_WRONLY, 0644);
    assert_int_equal(write(fd, "x", 1), 1);
    close(fd);
    snprintf(path, sizeof path, "%s/sub", g.dir);
    assert_int_equal(mkdir(path, 0777), 0);
    assert_int_equal(chmod(path, 0777), 0);

    int status = in_child(gofer_body, &g);
    assert_int_equal(rmdir(path), 0);
    unlinkat(g.dirfd, "file", 0);
    unlinkat(g.dirfd, "new", 0);
    assert_int_equal(rmdir(g.dir), 0);
    close(g.dirfd);
    assert_int_equal(status, 0);
}

static void gofer_read_only(void **state)
{
    (void)state;
    gofer_check(false, false);
}

static void gofer_writable(void **state)
{
    (void)state;
    gofer_check(true, false);
}

static void gofer_named_exports(void **state)
{
    (void)state;
    gofer_check(true, true);
    gofer_check(false, true);
}

static void gofer_executes_nothing(void *arg)
{
    const char *what = "";
    (void)arg;
    log_fd = open("/dev/null", O_WRONLY);
    CHECK(!isolate_gofer(true, &what));
    v_exec();
}

static void gofer_exec_kills(void **state)
{
    (void)state;
    assert_int_equal(in_child(gofer_executes_nothing, NULL), 128 + SIGSYS);
}

int main(void)
{
    if (TSAN) {
        printf("isolation is off in ThreadSanitizer builds, skipped\n");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gofer_read_only),
        cmocka_unit_test(gofer_writable),
        cmocka_unit_test(gofer_named_exports),
        cmocka_unit_test(gofer_exec_kills),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
