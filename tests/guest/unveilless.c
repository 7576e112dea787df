/* SPDX-License-Identifier: Apache-2.0
 * unveilless.c - unveiled names only shrink: locked, at their limits, over an exec. */
#include "unveilutil.h"

#define NAMES_MAX 128 /* UNVEIL_MAX */
#define LAYERS_MAX 8  /* UNVEIL_LAYERS_MAX */

/* --- shrinking, locking, limits, exec --- */

static void limits(void)
{
    char name[64];
    for (int i = 0; i < NAMES_MAX; i++) {
        snprintf(name, sizeof(name), "open/n%d", i);
        show(name, "r");
    }
    CHECK_EQ(ringbox_unveil(at("open/one_more"), "r"), -E2BIG);
    show("open/n0", "r"); /* one that is there */
    show("open/n0", "");
}

static void only_less(void)
{
    show("open", "rw");
    CHECK_EQ(ringbox_unveil(at("open"), "rwx"), -EPERM);
    show("open", "r");
    CHECK_EQ(ringbox_unveil(at("open"), "rw"), -EPERM);
    CHECK_EQ(ringbox_unveil(at("open"), "rr"), -EINVAL);
    CHECK_EQ(ringbox_unveil(at("open"), "q"), -EINVAL);
    CHECK_EQ(ringbox_unveil(at("open"), "rwxcrwxc"), -EINVAL);
    CHECK_EQ(ringbox_unveil(at("open"), NULL), -EINVAL);
    CHECK_EQ(ringbox_unveil(at("none/x"), "r"), -ENOENT);
    CHECK_EQ(ringbox_unveil(at("plain/x"), "r"), -ENOTDIR);
    CHECK_EQ(ringbox_unveil("", "r"), -ENOENT);
    CHECK_EQ(ringbox_unveil((char *)8, "r"), -EFAULT);
    CHECK_EQ(ringbox_unveil(NULL, NULL), 0);
    CHECK_EQ(ringbox_unveil(at("secret"), "r"), -EPERM);
    CHECK_EQ(ringbox_unveil(at("open"), ""), -EPERM);
}

/* The test again, with what dynamic programs need and @name, as an executed program. */
static int run_self(const char *what, const char *arg)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execl(g_self, g_self, what, arg, g_dir, NULL);
        _exit(errno == EACCES ? 101 : errno == ENOENT ? 102 : 103);
    }
    int status = guest_wait(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void show_system(void)
{
    static const char *const paths[] = {"/usr", "/lib", "/lib64", "/etc"};
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQ(ringbox_unveil(paths[i], i < 3 ? "rx" : "r"), 0);
}

static void programs(void)
{
    show_system();
    show("open", "rwxc");
    CHECK_EQ(run_self("--narrow", "1"), 102); /* it is not seen */
    CHECK_EQ(ringbox_unveil(g_self, "r"), 0);
    CHECK_EQ(run_self("--narrow", "1"), 101);
}

static void programs_run(void)
{
    show_system();
    show("open", "rwxc");
    CHECK_EQ(ringbox_unveil(g_self, "rx"), 0);
    CHECK_EQ(ringbox_unveil(NULL, NULL), 0);
    CHECK_EQ(run_self("--narrow", "1"), 0);
    CHECK_EQ(run_self("--deep", "1"), 0);
}

/* An executed program: its view goes over the one it has. */
static int narrow(const char *dir)
{
    struct stat st;
    snprintf(g_dir, sizeof(g_dir), "%s", dir);
    CHECK_ERR(stat(at("secret"), &st), ENOENT);
    CHECK_EQ(ringbox_unveil(at("secret"), "rwxc"), -ENOENT);
    CHECK_EQ(ringbox_unveil(at("open/file"), "rx"), 0);
    CHECK_EQ(ringbox_unveil(g_dir, "rwxc"), 0); /* more than it has: both count */
    CHECK_ERR(stat(at("secret"), &st), ENOENT);
    CHECK(reads(open(at("open/ro/file"), O_RDONLY), "ro"));
    CHECK_ERR(open(at("open/file"), O_WRONLY), EACCES);
    CHECK(reads(open(at("open/file"), O_RDONLY), "open"));
    CHECK_ERR(stat("/usr", &st), ENOENT);
    CHECK_ERR(open(g_dir, O_RDONLY), EACCES);
    return 0;
}

/* One view more with each exec. */
static int deep(const char *arg, const char *dir)
{
    int n = atoi(arg);
    char next[16];
    int want = n < LAYERS_MAX ? 0 : -E2BIG;
    CHECK(readlink("/proc/self/exe", g_self, sizeof(g_self) - 1) > 0 || errno == ENOENT);
    CHECK_EQ(ringbox_unveil("/", "rwx"), want);
    if (want)
        return 0;
    snprintf(next, sizeof(next), "%d", n + 1);
    execl(program_invocation_name, program_invocation_name, "--deep", next, dir, NULL);
    return 1;
}

static void case_limits(void)
{
    begin();
    inside(limits);
    end();
}

static void case_less(void)
{
    begin();
    inside(only_less);
    end();
}

static void case_programs(void)
{
    begin();
    inside(programs);
    inside(programs_run);
    end();
}

static const struct guest_case cases[] = {
    {"limits", case_limits},
    {"less", case_less},
    {"programs", case_programs},
};

int main(int argc, char **argv)
{
    if (argc == 4 && !strcmp(argv[1], "--narrow"))
        return narrow(argv[3]);
    if (argc == 4 && !strcmp(argv[1], "--deep"))
        return deep(argv[2], argv[3]);
    return guest_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
