/* SPDX-License-Identifier: Apache-2.0
 * control.c - what the CLI tells and asks the running Sentry through the control pipe: signals to pass
 * on, the end, questions whose answers are text (service/boot.h).
 *
 * An answer is made and written on a fiber, so that a CLI that does not read holds nobody up. One at a
 * time: the CLI waits for it before it asks again, and what it asks meanwhile is dropped.
 *
 * Owner: poller 0 only. Who may lie: nobody; names that guests gave are printed without what is not
 * plain text.
 *
 * Host: read [sentry] */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <files/files.h>
#include <kernel/itimer.h>
#include <mm/mm.h>
#include <service/boot.h>

#include "private.h"

#define STATUS_FAILED 125

static struct control_state {
    struct io_poll poll;
    int answers;
    struct process *first;          /* the command; a reference */
    struct host_terminal *terminal; /* its; a reference or NULL */
    bool answering;
    unsigned char question;
} g_control;

/* --- ps --- */

static void clean(char *s)
{
    for (; *s; s++)
        if (*s < ' ' || *s >= 0x7f || *s == '"' || *s == '\\')
            *s = '?';
}

static char state_char(struct process *p, struct task *leader)
{
    if (p->state != PROCESS_RUNNING)
        return 'Z';
    if (p->stopped)
        return 'T';
    return leader && leader->in_call ? 'S' : 'R';
}

static uint64_t process_rss(struct task *t)
{
    struct mm *mm = t ? task_mm_get(t) : NULL;
    struct mm_stats st = {0};

    if (!mm)
        return 0;
    mm_stats_get(mm, &st);
    mm_put(mm);
    return st.rss;
}

static uint64_t process_calls(struct process *p)
{
    uint64_t n = 0;
    struct task *t;

    spin_lock(&p->lock);
    list_for_each_entry (t, &p->threads, thread_link)
        n += t->syscalls;
    spin_unlock(&p->lock);
    return n;
}

static void ps_row(FILE *to, bool json, struct process *p, bool first)
{
    char comm[TASK_COMM_LEN] = {0};

    spin_lock(&p->lock);
    struct task *t AUTO_PUT(task) = p->leader ? task_get(p->leader) : NULL;
    uint32_t threads = p->thread_count;
    memcpy(comm, t ? t->comm : p->comm, sizeof comm - 1);
    spin_unlock(&p->lock);
    clean(comm);
    fprintf(to,
            json ? "%s{\"pid\":%d,\"ppid\":%d,\"state\":\"%c\",\"threads\":%u,\"cpu_ms\":%lld,"
                   "\"rss_kib\":%llu,\"calls\":%llu,\"name\":\"%s\"}"
                 : "%s%7d %7d %c %7u %9lld %9llu %11llu %s\n",
            json && !first ? "," : "", p->pid, process_ppid(p), state_char(p, t), threads,
            (long long)(process_cpu_ns(p) / 1000000), (unsigned long long)(process_rss(t) >> 10),
            (unsigned long long)process_calls(p), comm);
}

static void ps_write(FILE *to, bool json)
{
    int32_t pid = process_init()->pid; /* which is the Sentry */
    bool first = true;

    if (json)
        fprintf(to, "[");
    else
        fprintf(to, "%7s %7s S %7s %9s %9s %11s %s\n", "PID", "PPID", "THREADS", "CPU-MS",
                "RSS-KIB", "CALLS", "NAME");
    for (;;) {
        struct process *p AUTO_PUT(process) = process_next(pid);
        if (!p)
            break;
        pid = p->pid;
        ps_row(to, json, p, first);
        first = false;
    }
    if (json)
        fprintf(to, "]\n");
}

/* --- answers --- */

static int write_all(int fd, const void *buf, size_t n)
{
    const char *p = buf;

    while (n) {
        struct iovec v = {(void *)(uintptr_t)p, n};
        ssize_t done = io_pwritev(fd, &v, 1, -1);
        if (done <= 0)
            return -1;
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

static void answer_run(void *arg)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    (void)arg;
    if (to) {
        switch (g_control.question) {
        case CONTROL_STATS_TEXT:
        case CONTROL_STATS_JSON:
            service_stats_write(to, g_control.question == CONTROL_STATS_JSON);
            break;
        case CONTROL_PS_TEXT:
        case CONTROL_PS_JSON:
            ps_write(to, g_control.question == CONTROL_PS_JSON);
            break;
        case CONTROL_STOPPED:
            if (command_stopped(g_control.first, g_control.terminal))
                (void)fputc('s', to);
            break;
        }
        if (fclose(to))
            size = 0;
    }
    uint32_t len = (uint32_t)size;
    if (write_all(g_control.answers, &len, sizeof len) == 0)
        (void)write_all(g_control.answers, text, len);
    free(text);
    g_control.answering = false;
}

/* --- the pipe --- */

/* Go to the terminal's foreground group once the guest has one (job control), else to the command, as a
 * supervisor would send them. */
void command_signal(struct process *p, struct host_terminal *terminal, int signo)
{
    int32_t pgid = host_terminal_foreground(terminal);

    /* Nobody inside could continue the command's own group, so Ctrl-Z would be ignored as in an orphaned
     * one; but the shell outside can. */
    if (signo == SIGTSTP && pgid > 0 && pgid == process_pgid(p)) {
        struct sigaction_abi a;
        sighand_action(p->sighand, SIGTSTP, &a);
        if (a.handler == (uint64_t)(uintptr_t)SIG_DFL)
            signo = SIGSTOP;
    }
    if (pgid <= 0 || signal_send_group(pgid, signo, NULL))
        signal_send_process(p, signo, NULL);
}

bool command_stopped(struct process *p, struct host_terminal *terminal)
{
    return p->stopped && process_pgid(p) == host_terminal_foreground(terminal);
}

static void control_take(unsigned char what)
{
    if (what >= 1 && what <= NSIGNALS) {
        command_signal(g_control.first, g_control.terminal, what);
    } else if (what == CONTROL_END) {
        process_kill(g_control.first, SIGKILL);
    } else if (!g_control.answering) {
        g_control.answering = true;
        g_control.question = what;
        if (fiber_spawn(g_service.pollers[0].sched, answer_run, NULL))
            g_control.answering = false; /* the CLI's patience is bounded */
    }
}

static void control_ready(struct io_poll *p, uint32_t revents)
{
    unsigned char what;
    ssize_t n;
    int fd = p->fd;

    (void)revents;
    while ((n = read(fd, &what, 1)) == 1)
        control_take(what);
    if (n == 0 || io_poll_arm(p, fd, POLLIN, control_ready))
        service_stop(STATUS_FAILED); /* the CLI has gone */
}

void control_start(int fd, int answers, struct process *first, struct host_terminal *terminal)
{
    g_control.terminal = terminal;
    g_control.answers = answers;
    g_control.first = first;
    if (io_poll_arm(&g_control.poll, fd, POLLIN, control_ready))
        service_stop(STATUS_FAILED);
}
