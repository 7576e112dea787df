/* SPDX-License-Identifier: Apache-2.0
 * main.c - the ringbox command: finds the verb. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <base/hash.h>
#include <base/log.h>
#include <gofer/gofer.h>
#include <isolate/isolate.h>

#include "cmd.h"

int (*cmd_gofer)(const struct export *e);

static int gofer_main(const struct export *e)
{
    struct gofer_export root[2] = {
        {.root_fd = e->fd, .aname = "", .read_only = e->read_only, .locks = e->shared}};
    struct gofer_hidden hidden[ARRAY_SIZE(e->hidden)];
    struct gofer_config cfg = {
        .sock = e->sock[0], .exports = root, .export_count = e->aname ? 2 : 1, .donate = true};

    for (unsigned i = 0; i < e->hidden_count; i++)
        hidden[i] = (struct gofer_hidden){.dev = e->hidden[i].dev, .ino = e->hidden[i].ino};
    root[0].hidden = hidden;
    root[0].hidden_count = e->hidden_count;
    root[1] = root[0];
    root[1].aname = e->aname;
    int r = e->as_nobody ? isolate_become_nobody() : 0;
    if (r)
        return cmd_error("the file server cannot become an ordinary user: %s", strerror(-r));
    return gofer_serve(&cfg) ? EXIT_FAILED : 0;
}

int cmd_error(const char *fmt, ...)
{
    va_list ap;
    char line[1024];

    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 0x7f)
            *p = '?'; /* one line, and no orders to a terminal */
    fprintf(stderr, "ringbox: %s\n", line);
    return EXIT_FAILED;
}

static const struct verb {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} verbs[] = {
    {"run", cmd_run, "run a command in a sandbox"},
    {"syscalls", cmd_syscalls, "list system calls and how far they are supported"},
    {"ps", cmd_ps, "list sandboxes, or what runs in one"},
    {"kill", cmd_kill, "end a sandbox, or send it a signal"},
    {"stats", cmd_stats, "counters of a running sandbox"},
    {"exec", cmd_exec, "run a command in a running sandbox"},
    {"trace", cmd_trace, "print the system calls of a running sandbox"},
    {"serve", cmd_serve, "serve a directory to any client of 9P2000.L"},
    {"doctor", cmd_doctor, "say what this host offers and lacks"},
};

static int usage(FILE *to, int status)
{
    fprintf(to, "usage: ringbox VERB [OPTION...]\n\n");
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
        fprintf(to, "  %-10s %s\n", verbs[i].name, verbs[i].help);
    fprintf(to, "\nringbox VERB --help tells more.\n");
    return status;
}

int main(int argc, char **argv)
{
    log_init_from_env();
    hash_init();
    cmd_gofer = gofer_main;
    if (argc < 2)
        return usage(stderr, EXIT_FAILED);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return usage(stdout, 0);
    if (strcmp(argv[1], "--version") == 0) {
        printf("ringbox %s\n", RINGBOX_VERSION);
        return 0;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    return cmd_error("unknown verb '%s'; see ringbox --help", argv[1]);
}
