/* SPDX-License-Identifier: Apache-2.0
 * timer.c - clocks, sleeping, interval timers, POSIX timers. */
#include "guest.h"

#include <pthread.h>
#include <sys/time.h>
#include <sys/timex.h>

#define MS 1000000LL
#define SLACK (3000 * MS) /* machines under load */

static volatile sig_atomic_t g_hits;
static siginfo_t g_info;
static volatile pid_t g_tid;

static void record(int signo, siginfo_t *si, void *uc)
{
    (void)signo;
    (void)uc;
    g_info = *si;
    g_tid = guest_gettid();
    g_hits = g_hits + 1;
}

static void handle(int signo, int flags)
{
    struct sigaction a = {.sa_sigaction = record, .sa_flags = flags | SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    CHECK(sigaction(signo, &a, NULL) == 0);
}

static struct timespec ts_of(int64_t ns)
{
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static void block(int signo)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, signo);
    CHECK(sigprocmask(SIG_BLOCK, &s, NULL) == 0);
}

static int take(int signo, siginfo_t *si, int ms)
{
    sigset_t s;
    struct timespec ts = ts_of(ms * MS);
    sigemptyset(&s);
    sigaddset(&s, signo);
    int r;
    do {
        r = sigtimedwait(&s, si, &ts);
    } while (r < 0 && errno == EINTR);
    return r;
}

static void burn(int64_t cpu_ns)
{
    int64_t end = guest_now_ns(CLOCK_PROCESS_CPUTIME_ID) + cpu_ns;
    while (guest_now_ns(CLOCK_PROCESS_CPUTIME_ID) < end)
        for (volatile int i = 0; i < 10000; i++)
            ;
}

/* --- clocks --- */

static void case_clocks(void)
{
    static const int clocks[] = {CLOCK_REALTIME,
                                 CLOCK_MONOTONIC,
                                 CLOCK_MONOTONIC_RAW,
                                 CLOCK_REALTIME_COARSE,
                                 CLOCK_MONOTONIC_COARSE,
                                 CLOCK_BOOTTIME,
                                 CLOCK_TAI};
    for (size_t i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        struct timespec a, b, res;
        /* by call, not by the vDSO */
        CHECK(syscall(SYS_clock_gettime, clocks[i], &a) == 0);
        CHECK(syscall(SYS_clock_gettime, clocks[i], &b) == 0);
        CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
        CHECK(a.tv_nsec >= 0 && a.tv_nsec < 1000000000);
        CHECK(clock_getres(clocks[i], &res) == 0);
        CHECK_EQ(res.tv_sec, 0);
        CHECK(clock_gettime(clocks[i], &a) == 0); /* the C library's way agrees */
        int64_t diff = (a.tv_sec - b.tv_sec) * 1000000000LL + a.tv_nsec - b.tv_nsec;
        CHECK(diff > -100 * MS && diff < SLACK);
    }
    CHECK_ERR(syscall(SYS_clock_gettime, 77, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_clock_gettime, CLOCK_REALTIME, (void *)8), EFAULT);
    CHECK_ERR(syscall(SYS_clock_getres, 77, NULL), EINVAL);
    CHECK(syscall(SYS_clock_getres, CLOCK_REALTIME, NULL) == 0);
}

static void case_wall_time(void)
{
    struct timeval tv;
    CHECK(syscall(SYS_gettimeofday, &tv, NULL) == 0);
    time_t t = 0, r = syscall(SYS_time, &t);
    CHECK_EQ(r, t);
    CHECK(t >= tv.tv_sec && t - tv.tv_sec < 5);
    CHECK(llabs(guest_now_ns(CLOCK_REALTIME) / 1000000000 - t) < 5);
    CHECK_ERR(syscall(SYS_gettimeofday, (void *)8, NULL), EFAULT);
}

static void case_cpu_clocks(void)
{
    clockid_t c;
    int64_t p0 = guest_now_ns(CLOCK_PROCESS_CPUTIME_ID), t0 = guest_now_ns(CLOCK_THREAD_CPUTIME_ID);
    burn(30 * MS);
    CHECK(guest_now_ns(CLOCK_PROCESS_CPUTIME_ID) - p0 >= 30 * MS);
    CHECK(guest_now_ns(CLOCK_THREAD_CPUTIME_ID) - t0 >= 20 * MS);
    int64_t before = guest_now_ns(CLOCK_THREAD_CPUTIME_ID);
    guest_sleep_ms(50);
    CHECK(guest_now_ns(CLOCK_THREAD_CPUTIME_ID) - before < 40 * MS); /* sleeping costs none */
    CHECK(pthread_getcpuclockid(pthread_self(), &c) == 0);
    CHECK(llabs(guest_now_ns(c) - guest_now_ns(CLOCK_THREAD_CPUTIME_ID)) < 20 * MS);
    CHECK(clock_getcpuclockid(0, &c) == 0);
    CHECK(llabs(guest_now_ns(c) - guest_now_ns(CLOCK_PROCESS_CPUTIME_ID)) < 20 * MS);
}

static void case_set_refused(void)
{
    if (geteuid() == 0)
        SKIP("root may set the clock natively");
    struct timespec ts = {.tv_sec = 1};
    struct timeval tv = {.tv_sec = 1};
    CHECK_ERR(clock_settime(CLOCK_REALTIME, &ts), EPERM);
    CHECK_ERR(settimeofday(&tv, NULL), EPERM);
    struct timex tx = {.modes = ADJ_FREQUENCY};
    CHECK_ERR(adjtimex(&tx), EPERM);
}

static void case_adjtimex_read(void)
{
    struct timex tx = {0};
    int r = adjtimex(&tx);
    CHECK(r >= 0 && r <= 5);
    CHECK(llabs(tx.time.tv_sec - time(NULL)) < 5);
}

/* --- sleeping --- */

static void case_sleep_accuracy(void)
{
    static const int64_t ns[] = {1, 50000, 1 * MS, 10 * MS, 50 * MS};
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++) {
        int64_t start = guest_now_ns(CLOCK_MONOTONIC), best = INT64_MAX;
        for (int k = 0; k < 3; k++) {
            struct timespec ts = ts_of(ns[i]);
            start = guest_now_ns(CLOCK_MONOTONIC);
            CHECK(nanosleep(&ts, NULL) == 0);
            int64_t took = guest_now_ns(CLOCK_MONOTONIC) - start;
            CHECK(took >= ns[i]); /* never early */
            best = took < best ? took : best;
        }
        CHECK(best < ns[i] + 50 * MS);
    }
    struct timespec zero = {0};
    CHECK(nanosleep(&zero, NULL) == 0);
}

static void case_sleep_errors(void)
{
    struct timespec bad = {.tv_nsec = 1000000000}, neg = {.tv_sec = -1}, ok = {0};
    CHECK_ERR(nanosleep(&bad, NULL), EINVAL);
    CHECK_ERR(nanosleep(&neg, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_nanosleep, (void *)8, NULL), EFAULT);
    CHECK_EQ(clock_nanosleep(77, 0, &ok, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &ok, NULL), EINVAL);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &bad, NULL), EINVAL);
}

static void case_sleep_absolute(void)
{
    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
    for (int i = 0; i < 3; i++) {
        int64_t end = guest_now_ns(clocks[i]) + 30 * MS;
        struct timespec ts = ts_of(end);
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &ts, NULL), 0);
        int64_t late = guest_now_ns(clocks[i]) - end;
        CHECK(late >= 0 && late < SLACK);
        CHECK_EQ(clock_nanosleep(clocks[i], TIMER_ABSTIME, &ts, NULL), 0); /* past */
    }
}

static void case_sleep_remainder(void)
{
    handle(SIGALRM, SA_RESTART);
    struct itimerval it = {.it_value = {.tv_usec = 50000}};
    CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
    struct timespec ts = {.tv_sec = 10}, rem = {0};
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &rem), EINTR);
    int64_t left = rem.tv_sec * 1000000000LL + rem.tv_nsec;
    CHECK(left < 9951 * MS && left > 10000 * MS - SLACK);
    /* An absolute sleep leaves the remainder alone. */
    CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
    rem = (struct timespec){.tv_sec = 77};
    ts = ts_of(guest_now_ns(CLOCK_MONOTONIC) + 10000 * MS);
    CHECK_EQ(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, &rem), EINTR);
    CHECK_EQ(rem.tv_sec, 77);
}

static void *sleeper(void *arg)
{
    (void)arg;
    for (int i = 0; i < 20; i++) {
        struct timespec ts = ts_of((i % 5 + 1) * MS);
        int64_t start = guest_now_ns(CLOCK_MONOTONIC);
        CHECK(nanosleep(&ts, NULL) == 0);
        CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= (i % 5 + 1) * MS);
    }
    return NULL;
}

static void case_sleep_many(void)
{
    pthread_t th[16];
    for (int i = 0; i < 16; i++)
        CHECK(pthread_create(&th[i], NULL, sleeper, NULL) == 0);
    for (int i = 0; i < 16; i++)
        CHECK(pthread_join(th[i], NULL) == 0);
}

/* --- interval timers --- */

static void case_alarm(void)
{
    handle(SIGALRM, 0);
    CHECK_EQ(alarm(100), 0);
    CHECK_EQ(alarm(1), 100);
    CHECK_ERR(pause(), EINTR);
    CHECK_EQ(g_hits, 1);
    CHECK_EQ(g_info.si_code, SI_KERNEL);
    CHECK_EQ(alarm(0), 0);
}

static void case_itimer_real(void)
{
    struct itimerval it = {.it_interval = {.tv_usec = 20000}, .it_value = {.tv_usec = 20000}}, old;
    handle(SIGALRM, SA_RESTART);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
    WAIT_FOR(g_hits >= 5);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 90 * MS);
    CHECK(getitimer(ITIMER_REAL, &old) == 0);
    CHECK_EQ(old.it_interval.tv_usec, 20000);
    CHECK(old.it_value.tv_sec == 0 && old.it_value.tv_usec <= 20000);
    memset(&it, 0, sizeof(it));
    CHECK(setitimer(ITIMER_REAL, &it, &old) == 0);
    CHECK_EQ(old.it_interval.tv_usec, 20000);
    int hits = g_hits;
    guest_sleep_ms(60);
    CHECK_EQ(g_hits, hits);
    CHECK(getitimer(ITIMER_REAL, &old) == 0);
    CHECK_EQ(old.it_value.tv_sec + old.it_value.tv_usec, 0);
    CHECK_ERR(setitimer(7, &it, NULL), EINVAL);
    it.it_value.tv_usec = 1000000;
    CHECK_ERR(setitimer(ITIMER_REAL, &it, NULL), EINVAL);
    CHECK_ERR(getitimer(ITIMER_REAL, (void *)8), EFAULT);
}

static void case_itimer_fork_exec(void)
{
    struct itimerval it = {.it_value = {.tv_sec = 50}}, old;
    CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(getitimer(ITIMER_REAL, &old) == 0);
        CHECK_EQ(old.it_value.tv_sec + old.it_value.tv_usec, 0); /* not inherited */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(getitimer(ITIMER_REAL, &old) == 0);
    CHECK(old.it_value.tv_sec >= 40);
    alarm(0);
}

static void case_itimer_breaks_loop(void)
{
    struct itimerval it = {.it_value = {.tv_usec = 30000}};
    handle(SIGALRM, 0);
    CHECK(setitimer(ITIMER_REAL, &it, NULL) == 0);
    for (volatile unsigned long i = 0; !g_hits; i++)
        ;
    CHECK_EQ(g_hits, 1);
}

static void case_itimer_prof(void)
{
    struct itimerval it = {.it_interval = {.tv_usec = 20000}, .it_value = {.tv_usec = 20000}};
    handle(SIGPROF, SA_RESTART);
    handle(SIGVTALRM, SA_RESTART);
    CHECK(setitimer(ITIMER_PROF, &it, NULL) == 0);
    guest_sleep_ms(60);
    CHECK(g_hits <= 1); /* counts CPU time only */
    for (int i = 0; i < 500 && g_hits < 3; i++)
        burn(10 * MS);
    CHECK(g_hits >= 3);
    CHECK_EQ(g_info.si_signo, SIGPROF);
    memset(&it, 0, sizeof(it));
    CHECK(setitimer(ITIMER_PROF, &it, NULL) == 0);
    g_hits = 0;
    it.it_value.tv_usec = 20000;
    CHECK(setitimer(ITIMER_VIRTUAL, &it, NULL) == 0);
    for (int i = 0; i < 500 && !g_hits; i++)
        burn(10 * MS);
    CHECK_EQ(g_info.si_signo, SIGVTALRM);
}

/* --- POSIX timers --- */

static timer_t make_timer(int clock, int notify, int signo, int value)
{
    struct sigevent ev;
    timer_t id;
    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = notify;
    ev.sigev_signo = signo;
    ev.sigev_value.sival_int = value;
    CHECK(timer_create(clock, &ev, &id) == 0);
    return id;
}

static void set_timer(timer_t id, int64_t value, int64_t interval)
{
    struct itimerspec it = {ts_of(interval), ts_of(value)};
    CHECK(timer_settime(id, 0, &it, NULL) == 0);
}

static void case_timer_once(void)
{
    siginfo_t si;
    struct itimerspec now;
    block(SIGRTMIN);
    timer_t id = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 42);
    CHECK(timer_gettime(id, &now) == 0);
    CHECK_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    set_timer(id, 30 * MS, 0);
    CHECK(timer_gettime(id, &now) == 0);
    CHECK(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 30 * MS);
    CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - start >= 30 * MS);
    CHECK_EQ(si.si_code, SI_TIMER);
    CHECK_EQ(si.si_value.sival_int, 42);
    CHECK_EQ(si.si_overrun, 0);
    CHECK(timer_gettime(id, &now) == 0);
    CHECK_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
    CHECK(timer_delete(id) == 0);
    CHECK_EQ(take(SIGRTMIN, &si, 50), -1);
}

static void case_timer_periodic(void)
{
    siginfo_t si;
    block(SIGRTMIN);
    timer_t id = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 1);
    int64_t start = guest_now_ns(CLOCK_MONOTONIC);
    int expired = 0;
    set_timer(id, 10 * MS, 10 * MS);
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
        CHECK_EQ(timer_getoverrun(id), si.si_overrun);
        expired += 1 + si.si_overrun;
    }
    int64_t took = guest_now_ns(CLOCK_MONOTONIC) - start;
    CHECK(took >= expired * 10 * MS);
    guest_sleep_ms(105); /* not taken: counted */
    CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
    CHECK(si.si_overrun >= 7);
    CHECK_EQ(timer_getoverrun(id), si.si_overrun);
    set_timer(id, 0, 0);
    while (take(SIGRTMIN, &si, 1) == SIGRTMIN)
        ;
    CHECK_EQ(take(SIGRTMIN, &si, 40), -1);
    CHECK(timer_delete(id) == 0);
}

static void case_timer_absolute(void)
{
    static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME};
    siginfo_t si;
    block(SIGRTMIN);
    for (int i = 0; i < 2; i++) {
        timer_t id = make_timer(clocks[i], SIGEV_SIGNAL, SIGRTMIN, 0);
        int64_t end = guest_now_ns(clocks[i]) + 30 * MS;
        struct itimerspec it = {.it_value = ts_of(end)}, old;
        CHECK(timer_settime(id, TIMER_ABSTIME, &it, NULL) == 0);
        CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
        CHECK(guest_now_ns(clocks[i]) >= end);
        it.it_value = ts_of(1000); /* long ago: at once */
        CHECK(timer_settime(id, TIMER_ABSTIME, &it, &old) == 0);
        CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
        CHECK(timer_delete(id) == 0);
    }
}

static void case_timer_none(void)
{
    struct itimerspec now;
    timer_t id = make_timer(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0);
    set_timer(id, 20 * MS, 0);
    CHECK(timer_gettime(id, &now) == 0);
    CHECK(now.it_value.tv_nsec > 0);
    guest_sleep_ms(30);
    CHECK(timer_gettime(id, &now) == 0);
    CHECK_EQ(now.it_value.tv_sec + now.it_value.tv_nsec, 0);
    CHECK(timer_delete(id) == 0);
}

static volatile int g_stop;
static volatile pid_t g_thread_tid;

static void *idle_thread(void *arg)
{
    (void)arg;
    g_thread_tid = guest_gettid();
    while (!g_stop)
        guest_sleep_ms(1);
    return NULL;
}

static void case_timer_thread_id(void)
{
    pthread_t th;
    struct sigevent ev;
    timer_t id;
    handle(SIGRTMIN, SA_RESTART);
    CHECK(pthread_create(&th, NULL, idle_thread, NULL) == 0);
    WAIT_FOR(g_thread_tid);
    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = SIGEV_THREAD_ID;
    ev.sigev_signo = SIGRTMIN;
    ev._sigev_un._tid = g_thread_tid;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0);
    set_timer(id, 10 * MS, 0);
    WAIT_FOR(g_hits == 1);
    CHECK_EQ(g_tid, g_thread_tid);
    g_stop = 1;
    CHECK(pthread_join(th, NULL) == 0);
    ev._sigev_un._tid = 1; /* another process's */
    CHECK_ERR(timer_create(CLOCK_MONOTONIC, &ev, &id), EINVAL);
}

static volatile int g_called;

static void notify(union sigval v)
{
    g_called += v.sival_int;
}

static void case_timer_thread(void)
{
    struct sigevent ev;
    timer_t id;
    memset(&ev, 0, sizeof(ev));
    ev.sigev_notify = SIGEV_THREAD;
    ev.sigev_notify_function = notify;
    ev.sigev_value.sival_int = 3;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &id) == 0);
    set_timer(id, 10 * MS, 0);
    WAIT_FOR(g_called == 3);
    CHECK(timer_delete(id) == 0);
}

static void case_timer_default_event(void)
{
    timer_t id;
    siginfo_t si;
    block(SIGALRM);
    CHECK(timer_create(CLOCK_MONOTONIC, NULL, &id) == 0);
    set_timer(id, 5 * MS, 0);
    CHECK_EQ(take(SIGALRM, &si, 5000), SIGALRM);
    CHECK_EQ(si.si_code, SI_TIMER);
    CHECK(timer_delete(id) == 0);
}

static void case_timer_cpu(void)
{
    siginfo_t si;
    block(SIGRTMIN);
    timer_t id = make_timer(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN, 0);
    set_timer(id, 30 * MS, 0);
    CHECK_EQ(take(SIGRTMIN, &si, 60), -1); /* sleeping does not count */
    burn(40 * MS);
    CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
    CHECK(timer_delete(id) == 0);
    id = make_timer(CLOCK_THREAD_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN, 0);
    set_timer(id, 20 * MS, 20 * MS);
    burn(70 * MS);
    CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
    CHECK(timer_delete(id) == 0);
}

static void case_timer_many(void)
{
    siginfo_t si;
    timer_t id[32];
    int seen = 0;
    block(SIGRTMIN);
    for (int i = 0; i < 32; i++) {
        id[i] = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, i);
        set_timer(id[i], (1 + i * 7 % 32) * MS, 0);
    }
    for (int i = 0; i < 32; i++) {
        CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
        CHECK(!(seen & 1 << si.si_value.sival_int));
        seen |= 1 << si.si_value.sival_int;
    }
    for (int i = 0; i < 32; i++)
        CHECK(timer_delete(id[i]) == 0);
}

static void case_timer_tiny_interval(void)
{
    struct itimerspec it = {{0, 1}, {0, 1}};
    siginfo_t si;
    int64_t expired = 0;
    block(SIGRTMIN); /* unblocked, nothing else would ever run */
    timer_t id = make_timer(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN, 0);
    CHECK(timer_settime(id, 0, &it, NULL) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(take(SIGRTMIN, &si, 5000), SIGRTMIN);
        expired += 1 + si.si_overrun;
    }
    CHECK(expired > 1000);
    CHECK(timer_delete(id) == 0);
}

static void case_timer_errors(void)
{
    struct sigevent ev;
    timer_t id;
    struct itimerspec it = {.it_value = {.tv_nsec = 1000000000}};
    memset(&ev, 0, sizeof(ev));
    ev.sigev_signo = 99;
    CHECK_ERR(timer_create(CLOCK_MONOTONIC, &ev, &id), EINVAL);
    ev.sigev_signo = SIGUSR1;
    ev.sigev_notify = 55;
    CHECK_ERR(syscall(SYS_timer_create, CLOCK_MONOTONIC, &ev, &id), EINVAL);
    CHECK_ERR(timer_create(99, NULL, &id), EINVAL);
    CHECK_ERR(syscall(SYS_timer_settime, 4711, 0, &it, NULL), EINVAL);
    CHECK_ERR(syscall(SYS_timer_gettime, 4711, &it), EINVAL);
    CHECK_ERR(syscall(SYS_timer_delete, 4711), EINVAL);
    CHECK_ERR(syscall(SYS_timer_getoverrun, 4711), EINVAL);
    CHECK(timer_create(CLOCK_MONOTONIC, NULL, &id) == 0);
    CHECK_ERR(timer_settime(id, 0, &it, NULL), EINVAL);
    pid_t pid = fork();
    if (pid == 0) {
        CHECK_ERR(timer_gettime(id, &it), EINVAL); /* not inherited */
        _exit(0);
    }
    CHECK_EQ(guest_wait(pid), 0);
}

#define CASE(n)      \
    {                \
#n, case_##n \
    }
static const struct guest_case cases[] = {
    CASE(clocks),
    CASE(wall_time),
    CASE(cpu_clocks),
    CASE(set_refused),
    CASE(adjtimex_read),
    CASE(sleep_accuracy),
    CASE(sleep_errors),
    CASE(sleep_absolute),
    CASE(sleep_remainder),
    CASE(sleep_many),
    CASE(alarm),
    CASE(itimer_real),
    CASE(itimer_fork_exec),
    CASE(itimer_prof),
    CASE(itimer_breaks_loop),
    CASE(timer_once),
    CASE(timer_periodic),
    CASE(timer_absolute),
    CASE(timer_none),
    CASE(timer_thread_id),
    CASE(timer_thread),
    CASE(timer_default_event),
    CASE(timer_cpu),
    CASE(timer_many),
    CASE(timer_tiny_interval),
    CASE(timer_errors),
};
GUEST_MAIN(cases)
