/* SPDX-License-Identifier: Apache-2.0
 * proc.c - what programs read below /proc, /sys and /dev. */
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

static char text[1 << 20];

static char *slurp(const char *path)
{
    size_t n = 0;
    ssize_t r;
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        fprintf(stderr, "%s\n", path);
    CHECK(fd >= 0);
    while (n < sizeof(text) - 1 && (r = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
        n += (size_t)r;
    text[n] = 0;
    close(fd);
    return text;
}

static void self_links(void)
{
    char link[64] = {0}, want[64];
    CHECK(readlink("/proc/self", link, 63) > 0 && atoi(link) == getpid());
    memset(link, 0, sizeof(link));
    CHECK(readlink("/proc/thread-self", link, 63) > 0);
    snprintf(want, sizeof(want), "%d/task/%d", getpid(), guest_gettid());
    CHECK(!strcmp(link, want));
}

static void stat_line(void)
{
    int pid, ppid, pgrp, session;
    char state = 0, comm[32];
    prctl(PR_SET_NAME, "a b) c");
    CHECK(sscanf(slurp("/proc/self/stat"), "%d (%16[^)]", &pid, comm) == 2);
    char *end = strrchr(text, ')');
    CHECK(end && sscanf(end + 1, " %c %d %d %d", &state, &ppid, &pgrp, &session) == 4);
    CHECK(pid == getpid() && ppid == getppid() && pgrp == getpgrp() && session == getsid(0));
    CHECK(state == 'R');
    int fields = 0;
    for (char *t = strtok(end + 1, " \n"); t; t = strtok(NULL, " \n"))
        fields++;
    CHECK_EQ(fields, 50);
}

static void status_fields(void)
{
    unsigned long kb;
    int n;
    char *at;
    slurp("/proc/self/status");
    CHECK((at = strstr(text, "\nPid:\t")) && atoi(at + 6) == getpid());
    CHECK((at = strstr(text, "\nPPid:\t")) && atoi(at + 7) == getppid());
    CHECK((at = strstr(text, "\nVmRSS:")) && sscanf(at, "\nVmRSS: %lu kB", &kb) == 1 && kb > 0);
    CHECK((at = strstr(text, "\nThreads:\t")) && sscanf(at, "\nThreads: %d", &n) == 1 && n == 1);
    CHECK(strstr(text, "\nSigBlk:\t") && strstr(text, "\nCapEff:\t") && strstr(text, "\nUid:\t"));
    CHECK((at = strstr(text, "\nCpus_allowed_list:\t")));
}

static void names(void)
{
    prctl(PR_SET_NAME, "newname");
    CHECK(!strcmp(slurp("/proc/self/comm"), "newname\n"));
    int fd = open("/proc/self/comm", O_WRONLY);
    CHECK(fd >= 0 && write(fd, "other", 5) == 5);
    CHECK(!strcmp(slurp("/proc/thread-self/comm"), "other\n"));
}

static void command_line(void)
{
    char exe[4096] = {0};
    slurp("/proc/self/cmdline");
    CHECK(strstr(text, "guest_proc"));
    CHECK(readlink("/proc/self/exe", exe, sizeof(exe) - 1) > 0);
    CHECK(strstr(exe, "/guest_proc"));
    struct stat a, b;
    CHECK(stat("/proc/self/exe", &a) == 0 && stat(exe, &b) == 0);
    CHECK(a.st_ino == b.st_ino && a.st_dev == b.st_dev);
    int fd = open("/proc/self/environ", O_RDONLY);
    CHECK(fd >= 0);
    unsigned long aux[2];
    fd = open("/proc/self/auxv", O_RDONLY);
    bool found = false;
    while (read(fd, aux, sizeof(aux)) == sizeof(aux) && aux[0])
        found |= aux[0] == AT_ENTRY && aux[1] == getauxval(AT_ENTRY);
    CHECK(found);
}

static void directories(void)
{
    char here[4096], link[4096] = {0};
    CHECK(chdir("/tmp") == 0 && getcwd(here, sizeof(here)));
    CHECK(readlink("/proc/self/cwd", link, sizeof(link) - 1) > 0);
    CHECK(!strcmp(here, link));
    memset(link, 0, sizeof(link));
    CHECK(readlink("/proc/self/root", link, sizeof(link) - 1) == 1 && link[0] == '/');
    CHECK(access("/proc/self/root/tmp", F_OK) == 0);
}

static void memory_map(void)
{
    unsigned long a, b, code = (unsigned long)&memory_map, here = (unsigned long)&a;
    bool found_code = false, found_stack = false;
    char prot[5], *save, *line;
    slurp("/proc/self/maps");
    for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        CHECK(sscanf(line, "%lx-%lx %4s", &a, &b, prot) == 3);
        CHECK(a < b);
        if (a <= code && code < b)
            found_code = prot[2] == 'x' && strstr(line, "guest_proc");
        if (a <= here && here < b)
            found_stack = prot[1] == 'w' && strstr(line, "[stack]");
    }
    CHECK(found_code && found_stack);
    CHECK(strstr(slurp("/proc/self/smaps"), "\nRss:"));
}

static void descriptors(void)
{
    int fd = open("/dev/null", O_RDWR), seen = 0;
    char path[64], link[64] = {0};
    struct stat st;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    CHECK(readlink(path, link, 63) > 0 && !strcmp(link, "/dev/null"));
    CHECK(lstat(path, &st) == 0 && S_ISLNK(st.st_mode) && (st.st_mode & 0700) == 0700);
    CHECK(stat(path, &st) == 0 && S_ISCHR(st.st_mode));
    DIR *d = opendir("/proc/self/fd");
    CHECK(d);
    for (struct dirent *e; (e = readdir(d));)
        seen += atoi(e->d_name) == fd;
    CHECK_EQ(seen, 1);
    closedir(d);
    close(fd);
    CHECK_ERR(readlink(path, link, 63), ENOENT);
}

static void deleted_file(void)
{
    char path[] = "/tmp/guest-proc-XXXXXX", proc[64], link[128] = {0}, want[128], c;
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, "x", 1) == 1 && unlink(path) == 0);
    snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    CHECK(readlink(proc, link, sizeof(link) - 1) > 0);
    snprintf(want, sizeof(want), "%s (deleted)", path);
    CHECK(!strcmp(link, want));
    int again = open(proc, O_RDONLY); /* the file itself, whatever the name says */
    CHECK(again >= 0 && read(again, &c, 1) == 1 && c == 'x');
}

static void fdinfo(void)
{
    char path[64];
    int fd = open("/proc/self/exe", O_RDONLY);
    CHECK(lseek(fd, 7, SEEK_SET) == 7);
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    slurp(path);
    CHECK(strstr(text, "pos:\t7\n") && strstr(text, "flags:\t0"));
}

static void *thread(void *arg)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%d/comm", getpid(), guest_gettid());
    prctl(PR_SET_NAME, "worker");
    CHECK(!strcmp(slurp(path), "worker\n"));
    *(int *)arg = guest_gettid();
    int n = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    CHECK_EQ(n, 2);
    return NULL;
}

static void threads(void)
{
    pthread_t t;
    int tid = 0;
    CHECK(pthread_create(&t, NULL, thread, &tid) == 0);
    pthread_join(t, NULL);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/comm", tid);
    WAIT_FOR(access(path, F_OK) < 0);
}

static void child(void *arg)
{
    char c;
    (void)!read(*(int *)arg, &c, 1);
}

static void other_process(void)
{
    int p[2];
    char path[64], state = 0;
    CHECK(pipe(p) == 0);
    pid_t pid = guest_fork(child, &p[0]);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    WAIT_FOR(sscanf(strrchr(slurp(path), ')') + 1, " %c", &state) == 1 && state == 'S');
    snprintf(path, sizeof(path), "/proc/%d/cmdline", pid);
    CHECK(strstr(slurp(path), "guest_proc"));
    bool found = false;
    DIR *d = opendir("/proc");
    for (struct dirent *e; (e = readdir(d));)
        found |= atoi(e->d_name) == pid;
    closedir(d);
    CHECK(found);
    CHECK(write(p[1], "x", 1) == 1);
    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    WAIT_FOR(sscanf(strrchr(slurp(path), ')') + 1, " %c", &state) == 1 && state == 'Z');
    guest_wait(pid);
    CHECK_ERR(open(path, O_RDONLY), ENOENT);
}

static void limits(void)
{
    struct rlimit r;
    unsigned long soft = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &r) == 0);
    char *at = strstr(slurp("/proc/self/limits"), "Max open files");
    CHECK(at && sscanf(at + 14, " %lu", &soft) == 1 && soft == r.rlim_cur);
}

static void machine(void)
{
    unsigned long kb;
    int cpus = 0;
    struct utsname u;
    for (char *at = slurp("/proc/cpuinfo"); (at = strstr(at, "processor\t")); at++)
        cpus++;
    CHECK_EQ(cpus, get_nprocs_conf());
    CHECK(sscanf(slurp("/proc/meminfo"), "MemTotal: %lu kB", &kb) == 1 && kb > 1000);
    CHECK(strstr(text, "\nMemAvailable:"));
    CHECK(!strncmp(slurp("/proc/stat"), "cpu ", 4) && strstr(text, "\nbtime "));
    double up, idle;
    CHECK(sscanf(slurp("/proc/uptime"), "%lf %lf", &up, &idle) == 2 && up > 0);
    CHECK(sscanf(slurp("/proc/loadavg"), "%lf", &up) == 1);
    CHECK(uname(&u) == 0);
    CHECK(strstr(slurp("/proc/version"), u.release));
    CHECK(!strncmp(slurp("/proc/sys/kernel/osrelease"), u.release, strlen(u.release)));
    CHECK(!strcmp(slurp("/proc/sys/kernel/ostype"), "Linux\n"));
    CHECK(strstr(slurp("/proc/filesystems"), "proc"));
    CHECK(strstr(slurp("/proc/mounts"), " /proc proc "));
    CHECK(strstr(slurp("/proc/self/mountinfo"), " - proc "));
    CHECK(atoi(slurp("/proc/sys/kernel/pid_max")) >= 32768);
    CHECK(atoi(slurp("/sys/devices/system/cpu/online")) == 0);
}

static void random_numbers(void)
{
    char a[64], b[64], first[40];
    int fd = open("/dev/urandom", O_RDONLY);
    CHECK(fd >= 0);
    CHECK(read(fd, a, 64) == 64 && read(fd, b, 64) == 64 && memcmp(a, b, 64));
    memcpy(first, slurp("/proc/sys/kernel/random/uuid"), 37);
    CHECK(strlen(text) == 37 && text[14] == '4');
    CHECK(memcmp(first, slurp("/proc/sys/kernel/random/uuid"), 37));
    memcpy(first, slurp("/proc/sys/kernel/random/boot_id"), 37);
    CHECK(!memcmp(first, slurp("/proc/sys/kernel/random/boot_id"), 37));
}

static void devices(void)
{
    char b[4] = {1, 1, 1, 1};
    struct stat st;
    int fd = open("/dev/null", O_RDWR);
    CHECK(write(fd, b, 4) == 4 && read(fd, b, 4) == 0);
    CHECK(fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
    fd = open("/dev/zero", O_RDWR);
    CHECK(read(fd, b, 4) == 4 && !memcmp(b, "\0\0\0\0", 4) && write(fd, b, 4) == 4);
    fd = open("/dev/full", O_RDWR);
    CHECK_ERR(write(fd, b, 1), ENOSPC);
    CHECK(read(fd, b, 4) == 4);
    CHECK(stat("/dev/shm", &st) == 0 && S_ISDIR(st.st_mode));
}

static void reading_again(void)
{
    char a[32] = {0};
    int fd = open("/proc/self/comm", O_RDONLY);
    prctl(PR_SET_NAME, "first");
    CHECK(read(fd, a, 31) == 6 && !strcmp(a, "first\n"));
    prctl(PR_SET_NAME, "second");
    CHECK(read(fd, a, 31) == 0);
    CHECK(lseek(fd, 0, SEEK_SET) == 0);
    CHECK(read(fd, a, 31) == 7 && !strncmp(a, "second\n", 7));
    CHECK(pread(fd, a, 3, 0) == 3);
    CHECK_ERR(open("/proc/self/stat", O_RDWR | O_CREAT | O_EXCL, 0600), EEXIST);
    CHECK(open("/proc/nothing", O_WRONLY | O_CREAT, 0600) < 0);
}

static const struct guest_case cases[] = {
    {"self_links", self_links},
    {"stat_line", stat_line},
    {"status_fields", status_fields},
    {"names", names},
    {"command_line", command_line},
    {"directories", directories},
    {"memory_map", memory_map},
    {"descriptors", descriptors},
    {"deleted_file", deleted_file},
    {"fdinfo", fdinfo},
    {"threads", threads},
    {"other_process", other_process},
    {"limits", limits},
    {"machine", machine},
    {"random_numbers", random_numbers},
    {"devices", devices},
    {"reading_again", reading_again},
};
GUEST_MAIN(cases)
