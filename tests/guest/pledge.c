/* SPDX-License-Identifier: Apache-2.0
 * pledge.c - promises by libringbox: what is refused has no effect, by whatever way it comes; nothing
 * widens. Natively ringbox_pledge() is -ENOSYS and promises nothing, which is all that is tested then.
 *
 * Which call belongs to which promise is pledgematrix.c's. */
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <ringbox.h>

#include "guest.h"

#ifndef SYS_openat2
#define SYS_openat2 437
#endif

static char g_dir[GUEST_TEMPLATE_MAX];
static char g_self[4096];

static const char *at(const char *name)
{
    static char paths[4][GUEST_TEMPLATE_MAX + 32];
    static unsigned next;
    char *p = paths[next++ % 4];
    snprintf(p, sizeof(paths[0]), "%s/%s", g_dir, name);
    return p;
}

static void make_file(const char *name, const char *text)
{
    int fd = open(at(name), O_CREAT | O_TRUNC | O_WRONLY, 0644);
    CHECK(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

/* Outside a sandbox: nothing to see. */
static void begin(void)
{
    int r = ringbox_pledge(NULL, NULL);
    if (r == -ENOSYS) {
        CHECK_EQ(ringbox_pledge("stdio", NULL), -ENOSYS);
        CHECK_EQ(ringbox_unveil("/", "r"), -ENOSYS);
        _exit(0);
    }
    CHECK_EQ(r, 0);
    CHECK(mkdtemp(guest_template(g_dir, "pledge")));
    make_file("file", "text");
    CHECK(mkdir(at("sub"), 0755) == 0);
}

static void end(void)
{
    unlink(at("file"));
    rmdir(at("sub"));
    CHECK_EQ(rmdir(g_dir), 0); /* nothing else has come to be */
}

/* @fn, in a child that has promised @promises, must end well. */
static void promised(const char *promises, void (*fn)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_EQ(ringbox_pledge(promises, NULL), 0);
        fn();
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

/* --- effects --- */

static void stdio_only(void)
{
    struct stat st;
    char c;
    int fds[2], one = 1;
    /* what it may */
    CHECK(pipe(fds) == 0);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(read(fds[0], &c, 1), 1);
    CHECK(fstat(fds[0], &st) == 0);
    CHECK_EQ(syscall(SYS_newfstatat, fds[0], "", &st, AT_EMPTY_PATH), 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
          MAP_FAILED);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    CHECK(setsockopt(fds[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)) == 0);
    CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0);
    CHECK(kill(getpid(), 0) == 0);
    CHECK(raise(SIGURG) == 0);
    CHECK(prctl(PR_SET_NAME, "pledged") == 0);
    /* what it may not */
    CHECK_ERR(open(at("file"), O_RDONLY), EPERM);
    CHECK_ERR(open(at("new"), O_WRONLY | O_CREAT, 0600), EPERM);
    CHECK_ERR(open(at("file"), O_WRONLY | O_TRUNC), EPERM);
    CHECK_ERR(open(at("file"), O_PATH), EPERM);
    CHECK_ERR(stat(at("file"), &st), EPERM);
    CHECK_ERR(access(at("file"), F_OK), EPERM);
    CHECK_ERR(mkdir(at("new"), 0700), EPERM);
    CHECK_ERR(rmdir(at("sub")), EPERM);
    CHECK_ERR(unlink(at("file")), EPERM);
    CHECK_ERR(rename(at("file"), at("new")), EPERM);
    CHECK_ERR(link(at("file"), at("new")), EPERM);
    CHECK_ERR(symlink("file", at("new")), EPERM);
    CHECK_ERR(mkfifo(at("new"), 0600), EPERM);
    CHECK_ERR(chmod(at("file"), 0), EPERM);
    CHECK_ERR(truncate(at("file"), 0), EPERM);
    CHECK_ERR(chown(at("file"), getuid(), getgid()), EPERM);
    CHECK_ERR(chdir("/"), EPERM);
    CHECK_ERR(socket(AF_UNIX, SOCK_STREAM, 0), EPERM);
    CHECK_ERR(socket(AF_INET, SOCK_STREAM, 0), EPERM);
    CHECK_ERR(fork(), EPERM);
    CHECK_ERR(vfork(), EPERM);
    CHECK_ERR(kill(getppid(), SIGKILL), EPERM);
    CHECK_ERR(kill(-1, SIGKILL), EPERM);
    CHECK_ERR(kill(0, SIGKILL), EPERM);
    CHECK_ERR(syscall(SYS_tkill, getppid(), SIGKILL), EPERM);
    CHECK_ERR(setsid(), EPERM);
    CHECK_ERR(setuid(getuid()), EPERM);
    CHECK_ERR(execl("/bin/true", "true", NULL), EPERM);
    CHECK_ERR(flock(0, LOCK_SH), EPERM);
    CHECK_ERR(ioctl(0, TIOCSWINSZ, NULL), EPERM);
    CHECK_ERR(prctl(PR_SET_CHILD_SUBREAPER, 1), EPERM);
    CHECK_ERR(sethostname("x", 1), EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
    CHECK_EQ(errno, EPERM);
}

static void case_effects(void)
{
    struct stat st;
    begin();
    promised("stdio", stdio_only);
    CHECK(stat(at("file"), &st) == 0);
    CHECK_EQ(st.st_size, 4);
    CHECK_EQ(st.st_mode, S_IFREG | 0644);
    CHECK_EQ(st.st_nlink, 1);
    CHECK_ERR(access(at("new"), F_OK), ENOENT);
    CHECK(access(at("sub"), F_OK) == 0);
    end();
}

/* --- open: by flags, also those in memory --- */

static int open2(const char *path, uint64_t flags)
{
    uint64_t how[3] = {flags, 0, 0};
    return (int)syscall(SYS_openat2, AT_FDCWD, path, how, sizeof(how));
}

static void open_rpath(void)
{
    int fd = open(at("file"), O_RDONLY);
    CHECK(fd >= 0);
    CHECK(open2(at("file"), O_RDONLY) >= 0);
    CHECK_ERR(open2(at("file"), O_RDWR), EPERM);
    CHECK_ERR(open2(at("file"), O_RDONLY | O_TRUNC), EPERM);
    CHECK_ERR(open(at("file"), O_RDONLY | O_TRUNC), EPERM);
    CHECK_ERR(open(at("file"), 3), EPERM);
    CHECK_ERR(open(at("file"), O_RDONLY | O_CREAT, 0600), EPERM);
    CHECK_ERR(open(g_dir, O_TMPFILE | O_WRONLY, 0600), EPERM);
    CHECK_ERR(creat(at("file"), 0600), EPERM);
}

static void open_wpath(void)
{
    CHECK(open(at("file"), O_WRONLY) >= 0);
    CHECK_ERR(open(at("file"), O_RDWR), EPERM);
    CHECK_ERR(open(at("new"), O_WRONLY | O_CREAT, 0600), EPERM);
    CHECK_ERR(creat(at("file"), 0600), EPERM);
}

static void case_open(void)
{
    begin();
    promised("stdio rpath", open_rpath);
    promised("stdio wpath", open_wpath);
    end();
}

/* --- a thread changes what is in memory while another calls --- */

static _Atomic(bool) g_stop;
static struct {
    uint64_t how[3];
    char path[300];
    uint64_t clone[11];
} g_args;
static char g_first;

static void *flip(void *arg)
{
    (void)arg;
    for (unsigned n = 0; !g_stop; n++) {
        ((volatile uint64_t *)g_args.how)[0] = n % 2 ? O_RDONLY : O_RDWR | O_CREAT;
        ((volatile char *)g_args.path)[0] = n % 2 ? 0 : g_first;
        ((volatile uint64_t *)g_args.clone)[0] = n % 2 ? 0x50f00 | CLONE_THREAD : 0;
    }
    return NULL;
}

static void race_memory(void)
{
    pthread_t th;
    struct stat st;
    CHECK(pthread_create(&th, NULL, flip, NULL) == 0);
    for (int i = 0; i < 5000; i++) {
        long r = syscall(SYS_openat2, AT_FDCWD, at("new"), g_args.how, sizeof(g_args.how));
        CHECK(r < 0);
        CHECK(errno == EPERM || errno == ENOENT);
        r = syscall(SYS_clone3, g_args.clone, 64);
        CHECK(r < 0);
    }
    g_stop = true;
    pthread_join(th, NULL);
    CHECK_ERR(stat(at("new"), &st), ENOENT);
}

static void race_path(void)
{
    pthread_t th;
    struct stat st;
    int fd = 1;
    CHECK(pthread_create(&th, NULL, flip, NULL) == 0);
    for (int i = 0; i < 5000; i++) {
        memset(&st, 0, sizeof(st));
        if (syscall(SYS_newfstatat, fd, g_args.path, &st, AT_EMPTY_PATH) == 0)
            CHECK(st.st_size != 4 || !S_ISREG(st.st_mode)); /* never the file's */
        else
            CHECK(errno == EPERM || errno == ENOENT);
    }
    g_stop = true;
    pthread_join(th, NULL);
}

static void case_races(void)
{
    begin();
    snprintf(g_args.path, sizeof(g_args.path), "%s", at("file"));
    g_first = g_args.path[0];
    g_args.clone[4] = SIGCHLD; /* no thread has one */
    promised("stdio rpath", race_memory);
    promised("stdio", race_path);
    end();
}

/* --- only less --- */

static void widen(void)
{
    CHECK_EQ(ringbox_pledge("stdio wpath", NULL), -EPERM);
    CHECK_EQ(ringbox_pledge(NULL, "stdio rpath wpath"), -EPERM);
    CHECK_EQ(ringbox_pledge("stdio nonsense", NULL), -EINVAL);
    CHECK_EQ(ringbox_pledge((char *)8, NULL), -EFAULT);
    CHECK_EQ(ringbox_unveil("/", "r"), -EPERM); /* no such promise */
    char longest[600];
    memset(longest, ' ', sizeof(longest));
    longest[sizeof(longest) - 1] = 0;
    CHECK_EQ(ringbox_pledge(longest, NULL), -ENAMETOOLONG);
    longest[511] = 0; /* the limit: 511 and the zero */
    CHECK(open(at("file"), O_RDONLY) >= 0);
    CHECK_EQ(ringbox_pledge("stdio", NULL), 0);
    CHECK_ERR(open(at("file"), O_RDONLY), EPERM);
    CHECK_EQ(ringbox_pledge("stdio rpath", NULL), -EPERM);
    CHECK_EQ(ringbox_pledge(longest, NULL), 0);
    CHECK_ERR(write(1, "", 0), EPERM);
    CHECK_ERR(getppid() == 0 ? 0 : syscall(SYS_read, 0, NULL, 0), EPERM);
    _exit(0); /* that is always there */
}

static void case_widen(void)
{
    begin();
    promised("stdio rpath", widen);
    end();
}

/* --- threads, children, programs --- */

static int g_go[2], g_back[2];

static void *late(void *arg)
{
    char c;
    (void)arg;
    CHECK_EQ(read(g_go[0], &c, 1), 1); /* it waits in a call while the other promises */
    CHECK_ERR(open(at("file"), O_RDONLY), EPERM);
    CHECK_EQ(write(g_back[1], "x", 1), 1);
    return NULL;
}

static void threads(void)
{
    pthread_t th;
    char c;
    CHECK(pipe(g_go) == 0 && pipe(g_back) == 0);
    CHECK(pthread_create(&th, NULL, late, NULL) == 0);
    guest_sleep_ms(20);
    CHECK_EQ(ringbox_pledge("stdio", NULL), 0);
    CHECK_EQ(write(g_go[1], "x", 1), 1);
    CHECK_EQ(read(g_back[0], &c, 1), 1);
    pthread_join(th, NULL);
    CHECK(pthread_create(&th, NULL, flip, NULL) == 0); /* threads are stdio's */
    g_stop = true;
    pthread_join(th, NULL);
}

static void children(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_ERR(open(at("file"), O_RDONLY), EPERM);
        CHECK_EQ(ringbox_pledge("stdio", NULL), 0); /* the parent's stay */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(0);
    CHECK_EQ(guest_wait(pid), 0);
}

/* Exit status: which of reading 1, forking 2, writing 4 it may. */
static int probe(void)
{
    int may = 0;
    if (open("/", O_RDONLY | O_DIRECTORY) >= 0)
        may |= 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    if (pid > 0)
        may |= 2;
    if (open("/dev/null", O_WRONLY) >= 0)
        may |= 4;
    return may;
}

static int after_exec(const char *promises, const char *exec_promises)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        CHECK_EQ(ringbox_pledge(promises, exec_promises), 0);
        execl(g_self, g_self, "--probe", NULL);
        _exit(100);
    }
    int status = guest_wait(pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void case_threads(void)
{
    begin();
    CHECK(readlink("/proc/self/exe", g_self, sizeof(g_self) - 1) > 0);
    promised("stdio rpath", threads);
    promised("stdio proc", children);
    CHECK_EQ(after_exec(NULL, "stdio rpath prot_exec"), 1);
    CHECK_EQ(after_exec("exec", "stdio rpath"), 1);
    CHECK_EQ(after_exec("stdio rpath exec", NULL), 1);
    CHECK_EQ(after_exec("stdio rpath exec proc", NULL), 3);
    CHECK_EQ(after_exec("stdio rpath exec wpath", "stdio rpath proc wpath"), 7);
    CHECK_EQ(after_exec("stdio rpath", NULL), 100);
    end();
}

/* --- every way --- */

static void by_queue(void)
{
    struct ringbox *rb;
    int r = ringbox_open(&rb, 8);
    if (r == -ENOSYS)
        return;
    CHECK_EQ(r, 0);
    CHECK_EQ(ringbox_pledge("stdio", NULL), 0);
    for (int i = 0; i < 4; i++) {
        ringbox_prep(ringbox_get(rb), SYS_mkdir, (uint64_t)at("new"), 0700, 0, 0, 0, 0);
        ringbox_submit(rb);
        CHECK_EQ(ringbox_wait(rb)->result, -EPERM);
        ringbox_advance(rb, 1);
    }
    ringbox_prep_openat(ringbox_get(rb), AT_FDCWD, at("file"), O_RDONLY, 0);
    ringbox_prep(ringbox_get(rb), SYS_kill, (uint64_t)getppid(), SIGKILL, 0, 0, 0, 0);
    ringbox_prep(ringbox_get(rb), SYS_socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0);
    ringbox_submit(rb);
    for (int i = 0; i < 3; i++) {
        int64_t got = ringbox_wait(rb)->result;
        /* signals are none of a queue's calls */
        CHECK(got == -EPERM || got == -EINVAL);
        ringbox_advance(rb, 1);
    }
    CHECK_EQ(ringbox_call(rb, SYS_mkdir, (uint64_t)at("new"), 0700, 0, 0, 0, 0), -EPERM);
    CHECK_EQ(ringbox_call(rb, SYS_kill, (uint64_t)getppid(), SIGKILL, 0, 0, 0, 0), -EPERM);
    ringbox_close(rb);
}

/* One site, so often that it is changed and its calls are posted. */
static void by_site(void)
{
    for (int i = 0; i < 3000; i++) {
        CHECK_ERR(mkdir(at("new"), 0700), EPERM);
        CHECK_ERR(access(at("file"), F_OK), EPERM);
    }
}

static void case_ways(void)
{
    begin();
    promised("stdio rpath cpath", by_queue);
    promised("stdio", by_site);
    end();
}

/* --- memory --- */

static void executable(void)
{
    int fd = open(g_self, O_RDONLY), m = memfd_create("m", 0);
    CHECK(fd >= 0 && m >= 0);
    CHECK(ftruncate(m, 4096) == 0);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) == MAP_FAILED);
    CHECK_EQ(errno, EPERM);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, fd, 0) == MAP_FAILED);
    CHECK_EQ(errno, EPERM);
    CHECK(mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE, m, 0) == MAP_FAILED);
    CHECK_EQ(errno, EPERM);
    char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    CHECK_ERR(mprotect(p, 4096, PROT_READ | PROT_EXEC), EPERM);
    /* a file's text that is changed is no text any more */
    p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
    CHECK(mprotect(p, 4096, PROT_READ | PROT_WRITE) == 0);
    CHECK_ERR(mprotect(p, 4096, PROT_READ | PROT_EXEC), EPERM);
}

static void case_memory(void)
{
    begin();
    CHECK(readlink("/proc/self/exe", g_self, sizeof(g_self) - 1) > 0);
    promised("stdio rpath", executable);
    end();
}

/* --- sockets and descriptors in messages --- */

static int g_pair[2], g_unbound;

static void send_one(int sock, int fd, int want)
{
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    *h = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(h), &fd, sizeof(fd));
    if (want)
        CHECK_ERR(sendmsg(sock, &m, 0), want);
    else
        CHECK_EQ(sendmsg(sock, &m, 0), 1);
}

/* The descriptor, or -1 with what the flags then say. */
static int receive_one(int sock, int *ret_flags)
{
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    int fd = -1;
    CHECK_EQ(recvmsg(sock, &m, 0), 1);
    *ret_flags = m.msg_flags;
    struct cmsghdr *h = CMSG_FIRSTHDR(&m);
    if (h)
        memcpy(&fd, CMSG_DATA(h), sizeof(fd));
    return fd;
}

static void messages(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int flags;
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", at("socket"));
    send_one(g_pair[0], 0, EPERM);
    int before = dup(0);
    close(before);
    CHECK_EQ(receive_one(g_pair[0], &flags), -1);
    CHECK(flags & MSG_CTRUNC);
    int after = dup(0);
    CHECK_EQ(after, before); /* it is nowhere */
    CHECK_ERR(bind(g_unbound, (void *)&un, sizeof(un)), EPERM);
    CHECK_ERR(connect(g_unbound, (void *)&un, sizeof(un)), EPERM);
    CHECK_ERR(listen(g_unbound, 1), EPERM);
    CHECK_ERR(accept(g_unbound, NULL, NULL), EPERM);
    CHECK_ERR(sendto(g_unbound, "x", 1, 0, (void *)&un, sizeof(un)), EPERM);
}

static void case_messages(void)
{
    int flags;
    begin();
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, g_pair) == 0);
    g_unbound = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(g_unbound >= 0);
    send_one(g_pair[1], 1, 0);
    promised("stdio", messages);
    send_one(g_pair[1], 1, 0);
    CHECK(receive_one(g_pair[0], &flags) >= 0);
    end();
}

/* --- kill --- */

static void case_kill(void)
{
    begin();
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, SIG_IGN);
        CHECK_EQ(ringbox_pledge("stdio kill", NULL), 0);
        CHECK_EQ(ringbox_pledge("stdio", NULL), 0); /* it stays */
        (void)!write(1, "", 0);
        mkdir(at("new"), 0700);
        _exit(0);
    }
    int status = guest_wait(pid);
    CHECK(WIFSIGNALED(status));
    CHECK_EQ(WTERMSIG(status), SIGABRT);
    CHECK_EQ(after_exec("stdio kill", NULL), -SIGABRT);
    end();
}

static const struct guest_case cases[] = {
    {"effects", case_effects}, {"open", case_open},         {"races", case_races},
    {"widen", case_widen},     {"threads", case_threads},   {"ways", case_ways},
    {"memory", case_memory},   {"messages", case_messages}, {"kill", case_kill},
};

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--probe"))
        return probe();
    return guest_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
