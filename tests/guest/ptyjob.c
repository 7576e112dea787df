/* SPDX-License-Identifier: Apache-2.0
 * ptyjob.c - terminals and who they belong to: sessions, foreground and background, signals typed,
 * hangups, /dev/tty. */
#include "guest.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

static int g_master, g_slave;
static char g_name[64];

static void pair(void)
{
    CHECK(openpty(&g_master, &g_slave, NULL, NULL, NULL) == 0);
    CHECK(ptsname_r(g_master, g_name, sizeof(g_name)) == 0);
}

/* Run @leader as a session leader whose terminal the pair is; it ends with status 0. */
static void in_session(void (*leader)(void))
{
    pair();
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        CHECK(setsid() == getpid());
        CHECK(ioctl(g_slave, TIOCSCTTY, 0) == 0);
        leader();
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static volatile sig_atomic_t g_seen[65];
static void note(int signo)
{
    g_seen[signo]++;
}

static void catch (int signo)
{
    struct sigaction a = {.sa_handler = note};
    CHECK(sigaction(signo, &a, NULL) == 0);
}

/* A child in a process group of its own. */
static pid_t group(void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (!pid) {
        setpgid(0, 0);
        fn();
        _exit(0);
    }
    setpgid(pid, pid);
    return pid;
}

static void foreground(pid_t pgid)
{
    signal(SIGTTOU, SIG_IGN);
    CHECK(tcsetpgrp(g_slave, pgid) == 0);
    CHECK_EQ(tcgetpgrp(g_slave), pgid);
    signal(SIGTTOU, SIG_DFL);
}

static void wait_for_signal(void)
{
    for (;;)
        pause();
}

static void taking_leader(void)
{
    CHECK_EQ(tcgetpgrp(g_slave), getpid());
    CHECK_EQ(tcgetsid(g_slave), getpid());
    CHECK(ioctl(g_slave, TIOCSCTTY, 0) == 0); /* again: fine */
    int tty = open("/dev/tty", O_RDWR);
    CHECK(tty >= 0 && write(tty, "x", 1) == 1);
    int m, s;
    CHECK(openpty(&m, &s, NULL, NULL, NULL) == 0);
    CHECK_ERR(ioctl(s, TIOCSCTTY, 0), EPERM); /* one is enough */
    CHECK_ERR(tcgetpgrp(s), ENOTTY);
    CHECK_ERR(tcgetsid(s), ENOTTY);
    CHECK_ERR(tcsetpgrp(s, getpid()), ENOTTY);
    pid_t child = fork();
    if (!child) {
        CHECK_EQ(tcgetsid(g_slave), getppid());
        CHECK(setsid() > 0);
        CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
        CHECK_ERR(tcgetpgrp(g_slave), ENOTTY);
        if (geteuid() != 0)
            CHECK_ERR(ioctl(g_slave, TIOCSCTTY, 1), EPERM);
        CHECK_ERR(ioctl(g_slave, TIOCSCTTY, 0), EPERM); /* another session's */
        _exit(0);
    }
    CHECK_EQ(guest_wait(child), 0);
}
static void taking(void)
{
    in_session(taking_leader);
}

static void opening_leader(void)
{
    int fd = open(g_name, O_RDWR | O_NOCTTY);
    CHECK(ioctl(g_slave, TIOCNOTTY) == 0 || errno == ENOTTY);
    CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
    close(fd);
    fd = open(g_name, O_RDWR); /* without O_NOCTTY it becomes ours */
    CHECK(fd >= 0);
    CHECK_EQ(tcgetpgrp(fd), getpid());
    CHECK(open("/dev/tty", O_RDWR) >= 0);
}
static void opening(void)
{
    signal(SIGHUP, SIG_IGN);
    in_session(opening_leader);
}

static void not_a_leader(void)
{
    pair();
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        CHECK(setsid() > 0);
        pid_t child = fork();
        if (!child) {
            CHECK_ERR(ioctl(g_slave, TIOCSCTTY, 0), EPERM);
            int fd = open(g_name, O_RDWR);
            CHECK(fd >= 0);
            CHECK_ERR(tcgetpgrp(fd), ENOTTY);
            _exit(0);
        }
        CHECK_EQ(guest_wait(child), 0);
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

static void typed_leader(void)
{
    static const struct {
        char key;
        int signo;
    } keys[] = {{3, SIGINT}, {034, SIGQUIT}};

    for (int i = 0; i < 2; i++) {
        pid_t job = group(wait_for_signal);
        foreground(job);
        CHECK(write(g_master, &keys[i].key, 1) == 1);
        int status = guest_wait(job);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == keys[i].signo);
        foreground(getpid());
    }
    pid_t job = group(wait_for_signal);
    int status;
    foreground(job);
    CHECK(write(g_master, "\032", 1) == 1);
    CHECK(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTSTP);
    foreground(getpid());
    CHECK(kill(job, SIGKILL) == 0);
    (void)guest_wait(job);
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    t.c_lflag &= ~(tcflag_t)(ISIG | ECHO);
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
    char buf[8];
    CHECK(write(g_master, "\003\n", 2) == 2 && read(g_slave, buf, 8) == 2 && buf[0] == 3);
}
static void typed(void)
{
    in_session(typed_leader);
}

/* SIGINT throws away what was typed and not read; NOFLSH keeps it. */
static void flush_leader(void)
{
    char buf[16];
    catch (SIGINT);
    CHECK(write(g_master, "old\nmore\003new\n", 13) == 13);
    WAIT_FOR(g_seen[SIGINT] == 1);
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "new\n", 4));
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    t.c_lflag |= NOFLSH;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
    CHECK(write(g_master, "old\n\003", 5) == 5);
    WAIT_FOR(g_seen[SIGINT] == 2);
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "old\n", 4));
}
static void interrupt_flushes(void)
{
    in_session(flush_leader);
}

static void read_it(void)
{
    char c;
    CHECK(read(g_slave, &c, 1) == 1 && c == 'r');
}
static void background_read_leader(void)
{
    int status;
    pid_t job = group(read_it);
    CHECK(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status));
    CHECK_EQ(WSTOPSIG(status), SIGTTIN);
    foreground(job);
    CHECK(write(g_master, "r\n", 2) == 2 && kill(job, SIGCONT) == 0);
    CHECK_EQ(guest_wait(job), 0);
}
static void background_read(void)
{
    in_session(background_read_leader);
}

static void read_ignoring(void)
{
    char c;
    signal(SIGTTIN, SIG_IGN);
    CHECK_ERR(read(g_slave, &c, 1), EIO);
    sigset_t set;
    signal(SIGTTIN, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, SIGTTIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    CHECK_ERR(read(g_slave, &c, 1), EIO);
}
static void background_read_ignored_leader(void)
{
    CHECK_EQ(guest_wait(group(read_ignoring)), 0);
}
static void background_read_ignored(void)
{
    in_session(background_read_ignored_leader);
}

static void write_it(void)
{
    CHECK(write(g_slave, "w", 1) == 1);
}
static void set_it(void)
{
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
}
static void grab_it(void)
{
    CHECK(tcsetpgrp(g_slave, getpgrp()) == 0);
}
static void background_write_leader(void)
{
    int status;
    CHECK_EQ(guest_wait(group(write_it)), 0); /* without TOSTOP it may */
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    t.c_lflag |= TOSTOP;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
    void (*const what[])(void) = {write_it, set_it, grab_it};
    for (int i = 0; i < 3; i++) {
        pid_t job = group(what[i]);
        CHECK(waitpid(job, &status, WUNTRACED) == job && WIFSTOPPED(status));
        CHECK_EQ(WSTOPSIG(status), SIGTTOU);
        foreground(job);
        CHECK(kill(job, SIGCONT) == 0);
        CHECK_EQ(guest_wait(job), 0);
        foreground(getpid());
    }
}
static void background_write(void)
{
    in_session(background_write_leader);
}

static void set_group_leader(void)
{
    pid_t other = group(wait_for_signal), child = fork();
    if (!child) {
        setsid();
        wait_for_signal();
    }
    WAIT_FOR(getsid(child) == child);
    CHECK_ERR(tcsetpgrp(g_slave, child), EPERM); /* another session */
    CHECK_ERR(tcsetpgrp(g_slave, 99999999), ESRCH);
    CHECK_ERR(tcsetpgrp(g_slave, -1), EINVAL);
    CHECK(tcsetpgrp(g_slave, other) == 0);
    int fg;
    CHECK(ioctl(g_master, TIOCGPGRP, &fg) == 0 && fg == other); /* the master may look */
    kill(other, SIGKILL);
    kill(child, SIGKILL);
    (void)guest_wait(other);
    (void)guest_wait(child);
}
static void set_group(void)
{
    in_session(set_group_leader);
}

static void window_leader(void)
{
    struct winsize w = {10, 20, 0, 0};
    catch (SIGWINCH);
    CHECK(ioctl(g_master, TIOCSWINSZ, &w) == 0);
    WAIT_FOR(g_seen[SIGWINCH] == 1);
    CHECK(ioctl(g_master, TIOCSWINSZ, &w) == 0); /* no change */
    w.ws_row++;
    CHECK(ioctl(g_slave, TIOCSWINSZ, &w) == 0);
    WAIT_FOR(g_seen[SIGWINCH] == 2);
}
static void window(void)
{
    in_session(window_leader);
}

static void packet_signal_leader(void)
{
    catch (SIGQUIT);
    CHECK(ioctl(g_master, TIOCSIG, SIGQUIT) == 0);
    WAIT_FOR(g_seen[SIGQUIT] == 1);
    CHECK_ERR(ioctl(g_master, TIOCSIG, SIGKILL), EINVAL);
}
static void packet_signal(void)
{
    in_session(packet_signal_leader);
}

/* The master closes: the leader hears SIGHUP and SIGCONT, the terminal is dead. */
static void hangup_leader(void)
{
    catch (SIGHUP);
    catch (SIGCONT);
    close(g_master);
    WAIT_FOR(g_seen[SIGHUP] == 1 && g_seen[SIGCONT] == 1);
    CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
    CHECK_ERR(tcsetpgrp(g_slave, getpid()), ENOTTY);
    char c;
    CHECK_EQ(read(g_slave, &c, 1), 0);
}
static void hangup_session(int *ret_status)
{
    pair();
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        CHECK(setsid() > 0 && ioctl(g_slave, TIOCSCTTY, 0) == 0);
        hangup_leader();
        _exit(0);
    }
    close(g_master);
    *ret_status = guest_wait(pid);
}
static void hangup(void)
{
    int status;
    hangup_session(&status);
    CHECK_EQ(status, 0);
}

/* The leader ends: the foreground group hears SIGHUP, others do not. */
static void leader_ends(void)
{
    int pipes[2];
    char said[3] = {0};

    pair();
    CHECK(pipe(pipes) == 0);
    fflush(NULL);
    pid_t pid = fork();
    if (!pid) {
        CHECK(setsid() > 0 && ioctl(g_slave, TIOCSCTTY, 0) == 0);
        int ready[2];
        CHECK(pipe(ready) == 0);
        for (int i = 0; i < 2; i++) {
            pid_t job = fork();
            if (!job) {
                setpgid(0, 0);
                catch (SIGHUP);
                CHECK(write(ready[1], "x", 1) == 1);
                for (int n = 0; n < 500 && !g_seen[SIGHUP]; n++)
                    guest_sleep_ms(i ? 1 : 10);
                CHECK(write(pipes[1], g_seen[SIGHUP] ? i ? "b" : "f" : "-", 1) == 1);
                _exit(0);
            }
            char c;
            CHECK(read(ready[0], &c, 1) == 1);
            setpgid(job, job);
            if (!i)
                foreground(job);
        }
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    close(pipes[1]);
    CHECK(read(pipes[0], said, 1) == 1 && read(pipes[0], said + 1, 1) == 1);
    CHECK((said[0] == 'f' && said[1] == '-') || (said[0] == '-' && said[1] == 'f'));
}

static void give_up_leader(void)
{
    pid_t child = fork();
    if (!child) {
        CHECK(ioctl(g_slave, TIOCNOTTY) == 0);
        CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
        CHECK_ERR(ioctl(g_slave, TIOCNOTTY), ENOTTY);
        _exit(0);
    }
    CHECK_EQ(guest_wait(child), 0);
    CHECK(open("/dev/tty", O_RDWR) >= 0); /* the leader still has it */
    catch (SIGHUP);
    catch (SIGCONT);
    CHECK(ioctl(g_slave, TIOCNOTTY) == 0);
    WAIT_FOR(g_seen[SIGHUP] == 1 && g_seen[SIGCONT] == 1);
    CHECK_ERR(open("/dev/tty", O_RDWR), ENXIO);
}
static void give_up(void)
{
    in_session(give_up_leader);
}

static long stat_field(int n)
{
    char buf[512];
    int fd = open("/proc/self/stat", O_RDONLY);
    ssize_t len = read(fd, buf, sizeof(buf) - 1);
    CHECK(len > 0);
    buf[len] = 0;
    close(fd);
    char *p = strrchr(buf, ')') + 1;
    for (int i = 3; i < n; i++)
        p = strchr(p + 1, ' ');
    return strtol(p, NULL, 10);
}
static void proc_leader(void)
{
    int number;
    CHECK(ioctl(g_master, TIOCGPTN, &number) == 0);
    CHECK_EQ(stat_field(7), 136 << 8 | number);
    CHECK_EQ(stat_field(8), getpid());
    pid_t child = fork();
    if (!child) {
        CHECK(setsid() > 0);
        CHECK_EQ(stat_field(7), 0);
        CHECK_EQ(stat_field(8), -1);
        _exit(0);
    }
    CHECK_EQ(guest_wait(child), 0);
}
static void proc(void)
{
    in_session(proc_leader);
}

static const struct guest_case cases[] = {
    {"taking", taking},
    {"opening", opening},
    {"not_a_leader", not_a_leader},
    {"typed", typed},
    {"interrupt_flushes", interrupt_flushes},
    {"background_read", background_read},
    {"background_read_ignored", background_read_ignored},
    {"background_write", background_write},
    {"set_group", set_group},
    {"window", window},
    {"packet_signal", packet_signal},
    {"hangup", hangup},
    {"leader_ends", leader_ends},
    {"give_up", give_up},
    {"proc", proc},
};
GUEST_MAIN(cases)
