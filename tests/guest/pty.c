/* SPDX-License-Identifier: Apache-2.0
 * pty.c - pseudo terminals: pairs and their names, line editing, raw reads with VMIN and VTIME,
 * output processing, flow control, packet mode, hangups, limits. (ptyjob.c: sessions.) */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

static int g_master, g_slave;

static void pair(void)
{
    CHECK(openpty(&g_master, &g_slave, NULL, NULL, NULL) == 0);
}

static void type(const char *s)
{
    CHECK_EQ(write(g_master, s, strlen(s)), (ssize_t)strlen(s));
}

/* Until the end of @want has come, since the master may hand bytes on in pieces. */
static void expect(int fd, const char *want)
{
    char buf[8192];
    size_t len = 0, n = strlen(want);

    while (len < n) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 1000) <= 0)
            break;
        ssize_t r = read(fd, buf + len, sizeof(buf) - len - 1);
        CHECK(r > 0);
        len += (size_t)r;
    }
    buf[len] = 0;
    if (strcmp(buf, want))
        fprintf(stderr, "got \"%s\", want \"%s\"\n", buf, want);
    CHECK(!strcmp(buf, want));
}

static void expect_nothing(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 20), 0);
}

static void change(uint32_t iflag_off, uint32_t iflag_on, uint32_t lflag_off, uint32_t lflag_on)
{
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    t.c_iflag = (t.c_iflag & ~iflag_off) | iflag_on;
    t.c_lflag = (t.c_lflag & ~lflag_off) | lflag_on;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
}

static void raw(int min, int time)
{
    struct termios t;
    CHECK(tcgetattr(g_slave, &t) == 0);
    cfmakeraw(&t);
    t.c_cc[VMIN] = (cc_t)min;
    t.c_cc[VTIME] = (cc_t)time;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
}

static void names(void)
{
    char name[64], by_fd[64], link[64];
    struct stat a, b;
    int number;

    pair();
    CHECK(ioctl(g_master, TIOCGPTN, &number) == 0);
    CHECK(ptsname_r(g_master, name, sizeof(name)) == 0);
    snprintf(by_fd, sizeof(by_fd), "/dev/pts/%d", number);
    CHECK(!strcmp(name, by_fd));
    CHECK(ttyname_r(g_slave, by_fd, sizeof(by_fd)) == 0 && !strcmp(name, by_fd));
    CHECK(stat(name, &a) == 0 && fstat(g_slave, &b) == 0);
    CHECK(S_ISCHR(a.st_mode) && a.st_rdev == makedev(136, number));
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev && a.st_uid == getuid());
    CHECK(fstat(g_master, &b) == 0 && S_ISCHR(b.st_mode) && b.st_rdev == makedev(5, 2));
    snprintf(link, sizeof(link), "/proc/self/fd/%d", g_slave);
    ssize_t n = readlink(link, by_fd, sizeof(by_fd) - 1);
    CHECK(n > 0 && !strncmp(by_fd, name, (size_t)n));
    CHECK(isatty(g_master) && isatty(g_slave));
    CHECK(fchmod(g_slave, 0600) == 0 && stat(name, &a) == 0 && (a.st_mode & 07777) == 0600);
    int again = open(name, O_RDWR | O_NOCTTY);
    CHECK(again >= 0);
    close(g_master);
    CHECK(stat(name, &a) < 0 && errno == ENOENT);
    CHECK(open(name, O_RDWR | O_NOCTTY) < 0 && (errno == ENOENT || errno == EIO));
}

static void locked(void)
{
    char name[64];
    int on = 1, number, fd;

    g_master = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    CHECK(g_master >= 0 && ptsname_r(g_master, name, sizeof(name)) == 0);
    CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EIO);
    CHECK(ioctl(g_master, TIOCGPTLCK, &number) == 0 && number == 1);
    CHECK(unlockpt(g_master) == 0);
    fd = open(name, O_RDWR | O_NOCTTY);
    CHECK(fd >= 0);
    CHECK(ioctl(g_master, TIOCSPTLCK, &on) == 0);
    CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EIO);
    on = 0;
    CHECK(ioctl(g_master, TIOCSPTLCK, &on) == 0);
    fd = ioctl(g_master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    CHECK(write(fd, "x", 1) == 1);
    expect(g_master, "x");
    CHECK_ERR(ioctl(fd, TIOCGPTN, &number), ENOTTY);
    CHECK_ERR(lseek(fd, 0, SEEK_CUR), ESPIPE);
}

static void lines(void)
{
    char buf[64];

    pair();
    type("one\ntwo\n");
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "one\n", 4));
    CHECK(read(g_slave, buf, 2) == 2 && read(g_slave, buf + 2, 60) == 2);
    CHECK(!memcmp(buf, "two\n", 4));
    expect(g_master, "one\r\ntwo\r\n");
    type("part");
    expect(g_master, "part");
    expect_nothing(g_slave);
    type("\004"); /* end of file after text: the text */
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "part", 4));
    type("\004"); /* at the beginning of a line: 0 */
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 0);
    type("a\rb\r");
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "a\n", 2));
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "b\n", 2));
}

static void editing(void)
{
    char buf[64];

    pair();
    type("abd\177c\n"); /* erase */
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "abc\n", 4));
    expect(g_master, "abd\b \bc\r\n");
    type("go away\025x\n"); /* kill */
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "x\n", 2));
    expect(g_master, "go away\b \b\b \b\b \b\b \b\b \b\b \b\b \bx\r\n");
    type("ab cd_1 \027e\n"); /* word */
    CHECK(read(g_slave, buf, sizeof(buf)) == 5 && !memcmp(buf, "ab e\n", 5));
    expect(g_master, "ab cd_1 \b \b\b \b\b \b\b \b\b \be\r\n");
    type("a\026\003b\n"); /* literal: ^V ^C */
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "a\003b\n", 4));
    expect(g_master, "a^\b^Cb\r\n");
    type("x\001\177\177y\n"); /* control characters take two columns */
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "y\n", 2));
    expect(g_master, "x^A\b \b\b \b\b \by\r\n");
    type("a\tb\177\177c\n"); /* a tab goes as a whole */
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "ac\n", 3));
    expect(g_master, "a\tb\b \b\b\b\b\b\b\b\bc\r\n");
    type("no\022w\n"); /* reprint */
    CHECK(read(g_slave, buf, sizeof(buf)) == 4 && !memcmp(buf, "now\n", 4));
    expect(g_master, "no^R\r\nnow\r\n");
}

static void editing_utf8(void)
{
    char buf[64];

    pair();
    change(0, IUTF8, 0, 0);
    type("a\303\244\342\202\254\177\177b\n");
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "ab\n", 3));
    expect(g_master, "a\303\244\342\202\254\b \b\b \bb\r\n");
}

static void input_flags(void)
{
    char buf[64];

    pair();
    change(ICRNL, INLCR, ECHO, 0);
    type("a\nb\004");
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "a\rb", 3));
    change(INLCR, IGNCR | ISTRIP, 0, ECHONL);
    type("a\r\341\n");
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "aa\n", 3));
    expect(g_master, "\r\n"); /* ECHONL alone */
    change(IGNCR | ISTRIP, PARMRK | IUCLC, ECHONL, 0);
    type("AB\377\n");
    CHECK(read(g_slave, buf, sizeof(buf)) == 5 && !memcmp(buf, "ab\377\377\n", 5));
}

static void output_flags(void)
{
    struct termios t;

    pair();
    CHECK(write(g_slave, "a\nb\tc\r\n", 7) == 7);
    expect(g_master, "a\r\nb\tc\r\r\n");
    CHECK(tcgetattr(g_slave, &t) == 0);
    t.c_oflag = OPOST | OCRNL | OLCUC | XTABS | ONOCR;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
    CHECK(write(g_slave, "ab\tc\n", 5) == 5);
    expect(g_master, "AB      C\n");
    CHECK(write(g_slave, "x\ry", 3) == 3);
    expect(g_master, "X\nY");
    t.c_oflag = 0;
    CHECK(tcsetattr(g_slave, TCSANOW, &t) == 0);
    CHECK(write(g_slave, "a\n\t", 3) == 3);
    expect(g_master, "a\n\t");
}

/* A line longer than the buffer keeps its beginning and its end. */
static void long_line(void)
{
    static char line[6000], buf[8192];

    pair();
    change(0, 0, ECHO, 0);
    memset(line, 'x', sizeof(line));
    CHECK(write(g_master, line, sizeof(line)) == sizeof(line));
    type("\n");
    WAIT_FOR(ioctl(g_slave, FIONREAD, buf) == 0 && *(int *)(void *)buf > 0);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 4096);
    CHECK(buf[4094] == 'x' && buf[4095] == '\n');
}

static void raw_min(void)
{
    char buf[16];

    pair();
    raw(3, 0);
    type("ab");
    expect_nothing(g_slave); /* fewer than VMIN */
    type("c");
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "abc", 3));
    type("\003\004\021\177\n\r");
    CHECK(read(g_slave, buf, sizeof(buf)) == 6 && !memcmp(buf, "\003\004\021\177\n\r", 6));
    type("xy");
    CHECK(fcntl(g_slave, F_SETFL, O_NONBLOCK) == 0);
    WAIT_FOR(read(g_slave, buf, sizeof(buf)) == 2);
    CHECK_ERR(read(g_slave, buf, sizeof(buf)), EAGAIN);
}

static void *type_later(void *arg)
{
    for (const char *s = arg; *s; s++) {
        guest_sleep_ms(30);
        CHECK(write(g_master, s, 1) == 1);
    }
    return NULL;
}

/* A read that asks for less than VMIN ends with what it asks for. */
static void raw_min_waits(void)
{
    char buf[16];
    pthread_t t;

    pair();
    raw(5, 0);
    CHECK(pthread_create(&t, NULL, type_later, (void *)(uintptr_t) "abc") == 0);
    CHECK(read(g_slave, buf, 3) == 3 && !memcmp(buf, "abc", 3));
    pthread_join(t, NULL);
    CHECK(pthread_create(&t, NULL, type_later, (void *)(uintptr_t) "12345") == 0);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 5);
    pthread_join(t, NULL);
}

static void raw_time(void)
{
    char buf[16];
    pthread_t t;

    pair();
    raw(0, 0);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 0);
    raw(0, 2);
    int64_t begin = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 0);
    int64_t took = guest_now_ns(CLOCK_MONOTONIC) - begin;
    CHECK(took >= 150000000 && took < 5000000000);
    CHECK(pthread_create(&t, NULL, type_later, (void *)(uintptr_t) "a") == 0);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 1);
    pthread_join(t, NULL);
    raw(10, 3); /* bytes 30 ms apart belong together */
    CHECK(pthread_create(&t, NULL, type_later, (void *)(uintptr_t) "abc") == 0);
    begin = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 3);
    took = guest_now_ns(CLOCK_MONOTONIC) - begin;
    pthread_join(t, NULL);
    CHECK(took >= 300000000 && took < 5000000000);
}

/* What was typed for one mode is there in the other. */
static void mode_change(void)
{
    char buf[16];

    pair();
    change(0, 0, ECHO, 0);
    type("abc");
    guest_sleep_ms(20);
    change(0, 0, ICANON, 0);
    CHECK(read(g_slave, buf, sizeof(buf)) == 3 && !memcmp(buf, "abc", 3));
    type("de");
    guest_sleep_ms(20);
    change(0, 0, 0, ICANON);
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "de", 2));
    struct termios t;
    type("gone");
    guest_sleep_ms(20);
    CHECK(tcgetattr(g_slave, &t) == 0 && tcsetattr(g_slave, TCSAFLUSH, &t) == 0);
    type("f\n");
    CHECK(read(g_slave, buf, sizeof(buf)) == 2 && !memcmp(buf, "f\n", 2));
}

static void flow(void)
{
    struct pollfd p;

    pair();
    change(0, 0, ECHO, 0);
    type("\023"); /* ^S */
    CHECK(fcntl(g_slave, F_SETFL, O_NONBLOCK) == 0);
    WAIT_FOR(write(g_slave, "x", 1) < 0 && errno == EAGAIN);
    p = (struct pollfd){.fd = g_slave, .events = POLLOUT};
    CHECK_EQ(poll(&p, 1, 0), 0);
    type("\021"); /* ^Q */
    CHECK(poll(&p, 1, 5000) == 1 && p.revents == POLLOUT);
    CHECK(write(g_slave, "x", 1) == 1);
    CHECK(tcflow(g_slave, TCOOFF) == 0);
    CHECK_ERR(write(g_slave, "y", 1), EAGAIN);
    type("\021"); /* does not undo the call */
    guest_sleep_ms(20);
    CHECK_ERR(write(g_slave, "y", 1), EAGAIN);
    CHECK(tcflow(g_slave, TCOON) == 0);
    CHECK(write(g_slave, "y", 1) == 1);
    CHECK_ERR(tcflow(g_slave, 9), EINVAL);
}

static void packets(void)
{
    char buf[64];
    int on = 1;

    pair();
    change(0, 0, ECHO, 0);
    CHECK(ioctl(g_master, TIOCPKT, &on) == 0);
    on = 0;
    CHECK(ioctl(g_master, TIOCGPKT, &on) == 0 && on == 1);
    CHECK(write(g_slave, "data", 4) == 4);
    CHECK(read(g_master, buf, sizeof(buf)) == 5 && !memcmp(buf, "\0data", 5));
    CHECK(tcflush(g_slave, TCIFLUSH) == 0);
    struct pollfd p = {.fd = g_master, .events = POLLPRI};
    CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLPRI));
    CHECK(read(g_master, buf, sizeof(buf)) == 1 && buf[0] == TIOCPKT_FLUSHREAD);
    change(IXON, 0, 0, 0);
    CHECK(read(g_master, buf, sizeof(buf)) == 1 && buf[0] == TIOCPKT_NOSTOP);
    change(0, IXON, 0, 0);
    CHECK(read(g_master, buf, sizeof(buf)) == 1 && buf[0] == TIOCPKT_DOSTOP);
    CHECK(tcflow(g_slave, TCOOFF) == 0 && read(g_master, buf, sizeof(buf)) == 1);
    CHECK_EQ(buf[0], TIOCPKT_STOP);
}

static void slave_closes(void)
{
    char buf[64];
    struct pollfd p;

    pair();
    CHECK(write(g_slave, "last", 4) == 4);
    char name[64];
    CHECK(ptsname_r(g_master, name, sizeof(name)) == 0);
    close(g_slave);
    expect(g_master, "last");
    CHECK_ERR(read(g_master, buf, sizeof(buf)), EIO);
    p = (struct pollfd){.fd = g_master, .events = POLLIN};
    CHECK(poll(&p, 1, 1000) == 1 && (p.revents & POLLHUP));
    g_slave = open(name, O_RDWR | O_NOCTTY);
    CHECK(g_slave >= 0);
    p = (struct pollfd){.fd = g_master, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK(write(g_slave, "back", 4) == 4);
    expect(g_master, "back");
}

static void *close_master(void *arg)
{
    (void)arg;
    guest_sleep_ms(30);
    close(g_master);
    return NULL;
}

static void master_closes(void)
{
    char buf[64];
    pthread_t t;
    struct pollfd p;
    struct winsize w;

    pair();
    CHECK(pthread_create(&t, NULL, close_master, NULL) == 0);
    CHECK_ERR(read(g_slave, buf, sizeof(buf)), EIO); /* who waited */
    pthread_join(t, NULL);
    CHECK_EQ(read(g_slave, buf, sizeof(buf)), 0);
    CHECK_ERR(write(g_slave, "x", 1), EIO);
    CHECK_ERR(ioctl(g_slave, TIOCGWINSZ, &w), EIO);
    p = (struct pollfd){.fd = g_slave, .events = POLLIN | POLLOUT};
    CHECK(poll(&p, 1, 0) == 1);
    CHECK_EQ(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP);
}

/* Both directions full, then emptied: nothing is lost. */
static void much(void)
{
    static char out[200000], in[200000];
    size_t sent = 0, got = 0;

    pair();
    raw(1, 0);
    for (size_t i = 0; i < sizeof(out); i++)
        out[i] = (char)(i * 7 + i / 251);
    CHECK(fcntl(g_slave, F_SETFL, O_NONBLOCK) == 0 && fcntl(g_master, F_SETFL, O_NONBLOCK) == 0);
    for (int way = 0; way < 2; way++) {
        int from = way ? g_master : g_slave, to = way ? g_slave : g_master;
        for (sent = got = 0; got < sizeof(out);) {
            ssize_t n = write(from, out + sent, sizeof(out) - sent);
            sent += n > 0 ? (size_t)n : 0;
            n = read(to, in + got, sizeof(in) - got);
            got += n > 0 ? (size_t)n : 0;
        }
        CHECK(!memcmp(out, in, sizeof(out)));
        memset(in, 0, sizeof(in));
    }
}

static void window(void)
{
    struct winsize w = {24, 80, 1, 2}, got;

    pair();
    CHECK(ioctl(g_slave, TIOCGWINSZ, &got) == 0 && !got.ws_row && !got.ws_col);
    CHECK(ioctl(g_master, TIOCSWINSZ, &w) == 0);
    CHECK(ioctl(g_slave, TIOCGWINSZ, &got) == 0 && !memcmp(&w, &got, sizeof(w)));
    CHECK_ERR(ioctl(g_slave, TIOCGWINSZ, NULL), EFAULT);
}

static void settings(void)
{
    struct termios t, m;
    int n;

    pair();
    CHECK(tcgetattr(g_slave, &t) == 0 && tcgetattr(g_master, &m) == 0);
    CHECK(t.c_iflag == (ICRNL | IXON) && t.c_oflag == (OPOST | ONLCR));
    CHECK(t.c_cflag == (B38400 | CS8 | CREAD));
    CHECK(t.c_lflag == (ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN));
    CHECK(!memcmp(t.c_cc, "\003\034\177\025\004\0\001\0\021\023\032\0\022\017\027\026\0\0\0", 19));
    CHECK(m.c_lflag == t.c_lflag); /* the master speaks for the slave */
    t.c_cflag = CS5 | PARENB | HUPCL;
    CHECK(cfsetspeed(&t, B115200) == 0 && tcsetattr(g_master, TCSADRAIN, &t) == 0);
    CHECK(tcgetattr(g_slave, &m) == 0 && cfgetospeed(&m) == B115200);
    CHECK((m.c_cflag & (CSIZE | PARENB | CREAD | HUPCL)) == (CS8 | CREAD | HUPCL));
    CHECK(ioctl(g_slave, TIOCGETD, &n) == 0 && n == 0);
    CHECK(ioctl(g_slave, TIOCOUTQ, &n) == 0 && n == 0);
    CHECK(tcdrain(g_slave) == 0 && tcsendbreak(g_slave, 0) == 0);
    CHECK_ERR(tcflush(g_slave, 5), EINVAL);
    CHECK_ERR(ioctl(g_slave, 0x54ff, &n), ENOTTY);
    type("ab\nc");
    WAIT_FOR(ioctl(g_slave, FIONREAD, &n) == 0 && n == 3);
}

static void exclusive(void)
{
    char name[64];
    int n;

    pair();
    CHECK(ioctl(g_slave, TIOCEXCL) == 0 && ptsname_r(g_master, name, sizeof(name)) == 0);
    CHECK(ioctl(g_slave, TIOCGEXCL, &n) == 0 && n == 1);
    if (geteuid() != 0)
        CHECK_ERR(open(name, O_RDWR | O_NOCTTY), EBUSY);
    CHECK(ioctl(g_slave, TIOCNXCL) == 0);
    CHECK(open(name, O_RDWR | O_NOCTTY) >= 0);
}

/* Numbers are the lowest free ones and are used again; many pairs can be there. */
static void numbers(void)
{
    int fds[200], first, n;

    pair();
    CHECK(ioctl(g_master, TIOCGPTN, &first) == 0);
    for (int i = 0; i < 200; i++) {
        fds[i] = open("/dev/ptmx", O_RDWR | O_NOCTTY);
        CHECK(fds[i] >= 0);
    }
    CHECK(ioctl(fds[100], TIOCGPTN, &n) == 0);
    close(fds[100]);
    fds[100] = open("/dev/ptmx", O_RDWR | O_NOCTTY);
    int again;
    CHECK(ioctl(fds[100], TIOCGPTN, &again) == 0 && again == n);
    DIR *d = opendir("/dev/pts");
    int count = 0;
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));)
        count += e->d_name[0] >= '0' && e->d_name[0] <= '9';
    CHECK(count >= 201);
    closedir(d);
}

static void bad_memory(void)
{
    char *volatile nowhere = (char *)8;

    pair();
    CHECK_ERR(write(g_master, nowhere, 5), EFAULT);
    CHECK_ERR(write(g_slave, nowhere, 5), EFAULT);
    CHECK_ERR(ioctl(g_slave, TCSETS, 8), EFAULT);
    CHECK_ERR(ioctl(g_slave, TCGETS, 8), EFAULT);
    CHECK_ERR(ioctl(g_master, TIOCGPTN, 8), EFAULT);
    CHECK(write(g_slave, "ok", 2) == 2);
    expect(g_master, "ok");
}

static const struct guest_case cases[] = {
    {"names", names},
    {"locked", locked},
    {"lines", lines},
    {"editing", editing},
    {"editing_utf8", editing_utf8},
    {"input_flags", input_flags},
    {"output_flags", output_flags},
    {"long_line", long_line},
    {"raw_min", raw_min},
    {"raw_min_waits", raw_min_waits},
    {"raw_time", raw_time},
    {"mode_change", mode_change},
    {"flow", flow},
    {"packets", packets},
    {"slave_closes", slave_closes},
    {"master_closes", master_closes},
    {"much", much},
    {"window", window},
    {"settings", settings},
    {"exclusive", exclusive},
    {"numbers", numbers},
    {"bad_memory", bad_memory},
};
GUEST_MAIN(cases)
