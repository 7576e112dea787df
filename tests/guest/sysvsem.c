/* SPDX-License-Identifier: Apache-2.0
 * sysvsem.c - System V semaphores and message queues. */
#include <limits.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/time.h>

#include <grp.h>
#include <pthread.h>

#include "guest.h"

static int g_id;

/* --- semaphores --- */

static int sem_new(int count)
{
    int id = semget(IPC_PRIVATE, count, 0600);
    CHECK(id >= 0);
    return id;
}

static void sem_remove(int id)
{
    CHECK(semctl(id, 0, IPC_RMID) == 0);
}

static int sem_do(int id, unsigned short number, short op, short flags)
{
    struct sembuf s = {number, op, flags};
    return semop(id, &s, 1);
}

static void case_sem_basic(void)
{
    int id = sem_new(3);
    unsigned short all[3] = {5, 6, 7};
    CHECK_EQ(semctl(id, 0, GETVAL), 0);
    CHECK(semctl(id, 0, SETALL, all) == 0);
    CHECK_EQ(semctl(id, 2, GETVAL), 7);
    CHECK(semctl(id, 1, SETVAL, 1) == 0);
    CHECK_EQ(semctl(id, 1, GETPID), getpid());
    CHECK(sem_do(id, 1, -1, 0) == 0);
    CHECK(semctl(id, 0, GETALL, all) == 0);
    CHECK_EQ(all[0], 5);
    CHECK_EQ(all[1], 0);
    CHECK_ERR(sem_do(id, 1, -1, IPC_NOWAIT), EAGAIN);
    CHECK_ERR(sem_do(id, 0, 0, IPC_NOWAIT), EAGAIN);
    CHECK(sem_do(id, 1, 0, 0) == 0);
    CHECK_ERR(sem_do(id, 3, 1, 0), EFBIG);
    CHECK_ERR(sem_do(id, 0, 32767, 0), ERANGE);
    CHECK_ERR(semctl(id, 0, SETVAL, 32768), ERANGE);
    CHECK_ERR(semctl(id, 0, SETVAL, -1), ERANGE);
    CHECK_ERR(semctl(id, 3, GETVAL), EINVAL);
    CHECK_ERR(semop(id, NULL, 0), EINVAL);
    CHECK_ERR(semop(id, (struct sembuf *)8, 1), EFAULT);
    struct semid_ds d;
    CHECK(semctl(id, 0, IPC_STAT, &d) == 0);
    CHECK_EQ(d.sem_nsems, 3);
    CHECK(d.sem_otime != 0);
    sem_remove(id);
    CHECK_ERR(sem_do(id, 0, 1, 0), EINVAL);
}

/* All or nothing, in order. */
static void case_sem_atomic(void)
{
    int id = sem_new(2);
    struct sembuf ops[3] = {{0, 2, 0}, {0, -1, 0}, {1, -1, IPC_NOWAIT}};
    CHECK_ERR(semop(id, ops, 3), EAGAIN);
    CHECK_EQ(semctl(id, 0, GETVAL), 0);
    CHECK(semctl(id, 1, SETVAL, 1) == 0);
    CHECK(semop(id, ops, 3) == 0);
    CHECK_EQ(semctl(id, 0, GETVAL), 1);
    CHECK_EQ(semctl(id, 1, GETVAL), 0);
    static struct sembuf many[501];
    for (int i = 0; i < 501; i++)
        many[i] = (struct sembuf){0, 1, 0};
    CHECK(semop(id, many, 500) == 0);
    CHECK_EQ(semctl(id, 0, GETVAL), 501);
    CHECK_ERR(semop(id, many, 501), E2BIG);
    sem_remove(id);
}

static void child_down(void *arg)
{
    struct sembuf *s = arg;
    CHECK(semop(g_id, s, 1) == 0);
}

static void case_sem_wait(void)
{
    g_id = sem_new(2);
    struct sembuf down = {0, -2, 0}, zero = {1, 0, 0};
    CHECK(semctl(g_id, 1, SETVAL, 1) == 0);
    pid_t a = guest_fork(child_down, &down), b = guest_fork(child_down, &zero);
    WAIT_FOR(semctl(g_id, 0, GETNCNT) == 1 && semctl(g_id, 1, GETZCNT) == 1);
    CHECK_EQ(semctl(g_id, 0, GETZCNT), 0);
    CHECK_EQ(semctl(g_id, 1, GETNCNT), 0);
    CHECK(sem_do(g_id, 0, 1, 0) == 0);
    CHECK_EQ(semctl(g_id, 0, GETVAL), 1);
    CHECK_EQ(semctl(g_id, 0, GETNCNT), 1);
    CHECK(sem_do(g_id, 0, 2, 0) == 0);
    CHECK_EQ(semctl(g_id, 0, GETVAL), 1); /* taken at once on the sleeper's behalf */
    CHECK_EQ(semctl(g_id, 0, GETPID), a);
    CHECK_EQ(guest_wait(a), 0);
    CHECK(sem_do(g_id, 1, -1, 0) == 0);
    CHECK_EQ(guest_wait(b), 0);
    sem_remove(g_id);
}

static void *thread_down(void *arg)
{
    (void)arg;
    struct sembuf s = {0, -1, 0};
    return (void *)(intptr_t)(semop(g_id, &s, 1) ? errno : 0);
}

static void case_sem_removed(void)
{
    pthread_t th;
    void *r;
    g_id = sem_new(1);
    CHECK(pthread_create(&th, NULL, thread_down, NULL) == 0);
    WAIT_FOR(semctl(g_id, 0, GETNCNT) == 1);
    sem_remove(g_id);
    CHECK(pthread_join(th, &r) == 0);
    CHECK_EQ((intptr_t)r, EIDRM);
}

static void nothing(int signo)
{
    (void)signo;
}

static void case_sem_interrupted(void)
{
    pthread_t th;
    void *r;
    struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    g_id = sem_new(1);
    CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
    CHECK(pthread_create(&th, NULL, thread_down, NULL) == 0);
    WAIT_FOR(semctl(g_id, 0, GETNCNT) == 1);
    CHECK(pthread_kill(th, SIGUSR1) == 0);
    CHECK(pthread_join(th, &r) == 0);
    CHECK_EQ((intptr_t)r, EINTR); /* never restarted */
    CHECK_EQ(semctl(g_id, 0, GETNCNT), 0);
    sem_remove(g_id);
}

static void case_sem_timeout(void)
{
    int id = sem_new(1);
    struct sembuf s = {0, -1, 0};
    struct timespec ts = {0, 30000000}, bad = {0, 1000000000}, none = {0, 0};
    int64_t t0 = guest_now_ns(CLOCK_MONOTONIC);
    CHECK_ERR(semtimedop(id, &s, 1, &ts), EAGAIN);
    CHECK(guest_now_ns(CLOCK_MONOTONIC) - t0 >= 30000000);
    CHECK_ERR(semtimedop(id, &s, 1, &none), EAGAIN);
    CHECK_ERR(semtimedop(id, &s, 1, &bad), EINVAL);
    CHECK(sem_do(id, 0, 1, 0) == 0);
    CHECK(semtimedop(id, &s, 1, &ts) == 0);
    sem_remove(id);
}

static void child_undo(void *arg)
{
    (void)arg;
    CHECK(sem_do(g_id, 0, -2, SEM_UNDO) == 0);
    CHECK(sem_do(g_id, 0, 1, SEM_UNDO) == 0);
    CHECK(sem_do(g_id, 1, 3, SEM_UNDO) == 0);
    CHECK(sem_do(g_id, 2, 1, SEM_UNDO) == 0);
    CHECK_EQ(semctl(g_id, 0, GETVAL), 4);
    CHECK(semctl(g_id, 2, SETVAL, 6) == 0); /* forgets what was to be undone */
    if (arg)
        for (;;)
            pause();
}

static void case_sem_undo(void)
{
    unsigned short all[3];
    g_id = sem_new(3);
    CHECK(semctl(g_id, 0, SETVAL, 5) == 0);
    CHECK_EQ(guest_wait(guest_fork(child_undo, NULL)), 0);
    CHECK(semctl(g_id, 0, GETALL, all) == 0);
    CHECK_EQ(all[0], 5);
    CHECK_EQ(all[1], 0);
    CHECK_EQ(all[2], 6);
    CHECK(semctl(g_id, 2, SETVAL, 0) == 0);
    pid_t pid = guest_fork(child_undo, all);
    WAIT_FOR(semctl(g_id, 2, GETVAL) == 6);
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK_EQ(guest_wait(pid), SIGKILL);
    CHECK(semctl(g_id, 0, GETALL, all) == 0);
    CHECK_EQ(all[0], 5);
    CHECK_EQ(all[1], 0);
    sem_remove(g_id);
}

static void *thread_undo(void *arg)
{
    (void)arg;
    return (void *)(intptr_t)sem_do(g_id, 0, -1, SEM_UNDO);
}

static void child_thread_undo(void *arg)
{
    pthread_t th;
    void *r;
    (void)arg;
    CHECK(pthread_create(&th, NULL, thread_undo, NULL) == 0);
    CHECK(pthread_join(th, &r) == 0 && !r);
    CHECK_EQ(semctl(g_id, 0, GETVAL), 0); /* the thread's end undoes nothing */
}

static void case_sem_undo_threads(void)
{
    g_id = sem_new(1);
    CHECK(semctl(g_id, 0, SETVAL, 1) == 0);
    CHECK_EQ(guest_wait(guest_fork(child_thread_undo, NULL)), 0);
    CHECK_EQ(semctl(g_id, 0, GETVAL), 1);
    sem_remove(g_id);
}

static void case_sem_limits(void)
{
    CHECK_ERR(semget(IPC_PRIVATE, 32001, 0600), EINVAL);
    CHECK_ERR(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_ERR(semget(IPC_PRIVATE, -1, 0600), EINVAL);
    int id = sem_new(32000);
    CHECK(sem_do(id, 31999, 1, 0) == 0);
    CHECK_ERR(sem_do(id, 32000, 1, 0), EFBIG);
    sem_remove(id);
    struct seminfo i;
    CHECK(semctl(0, 0, IPC_INFO, &i) >= 0);
    CHECK_EQ(i.semmni, 32000);
    CHECK_EQ(i.semopm, 500);
    if (i.semmns > 1 << 20)
        return;
    /* The sandbox's own bound of all sets together. */
    static int ids[64];
    struct seminfo used;
    int n = 0;
    CHECK(semctl(0, 0, SEM_INFO, &used) >= 0);
    int room = i.semmns - used.semaem;
    for (; room >= 32000; room -= 32000)
        ids[n++] = sem_new(32000);
    CHECK_ERR(semget(IPC_PRIVATE, room + 1, 0600), ENOSPC);
    ids[n++] = sem_new(room);
    CHECK_ERR(semget(IPC_PRIVATE, 1, 0600), ENOSPC);
    while (n > 0)
        sem_remove(ids[--n]);
}

/* Ping-pong of processes: every step is seen by the other. */
static void child_pong(void *arg)
{
    (void)arg;
    for (int i = 0; i < 500; i++) {
        CHECK(sem_do(g_id, 0, -1, 0) == 0);
        CHECK(sem_do(g_id, 1, 1, 0) == 0);
    }
}

static void case_sem_pingpong(void)
{
    g_id = sem_new(2);
    pid_t pid = guest_fork(child_pong, NULL);
    for (int i = 0; i < 500; i++) {
        CHECK(sem_do(g_id, 0, 1, 0) == 0);
        CHECK(sem_do(g_id, 1, -1, 0) == 0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    sem_remove(g_id);
}

/* --- messages --- */

struct message {
    long type;
    char text[9000];
};
static struct message g_m;

static int msg_new(void)
{
    int id = msgget(IPC_PRIVATE, 0600);
    CHECK(id >= 0);
    return id;
}

static int msg_put(int id, long type, const char *text)
{
    g_m.type = type;
    strcpy(g_m.text, text);
    return msgsnd(id, &g_m, strlen(text), IPC_NOWAIT);
}

static const char *msg_take(int id, long type, int flags)
{
    memset(&g_m, 0, sizeof(g_m));
    ssize_t n = msgrcv(id, &g_m, sizeof(g_m.text), type, flags | IPC_NOWAIT);
    return n < 0 ? "" : g_m.text;
}

static void case_msg_basic(void)
{
    int id = msg_new();
    CHECK_ERR(msgrcv(id, &g_m, 10, 0, IPC_NOWAIT), ENOMSG);
    CHECK(msg_put(id, 3, "three") == 0);
    CHECK(msg_put(id, 1, "one") == 0);
    CHECK(msg_put(id, 2, "two") == 0);
    CHECK(msg_put(id, 1, "uno") == 0);
    CHECK(!strcmp(msg_take(id, -2, 0), "one") && g_m.type == 1);
    CHECK(!strcmp(msg_take(id, 2, 0), "two"));
    CHECK(!strcmp(msg_take(id, 3, MSG_EXCEPT), "uno"));
    struct msqid_ds d;
    CHECK(msgctl(id, IPC_STAT, &d) == 0);
    CHECK_EQ(d.msg_qnum, 1);
    CHECK_EQ(d.__msg_cbytes, 5);
    CHECK_EQ(d.msg_lspid, getpid());
    CHECK_EQ(d.msg_qbytes, 16384);
    CHECK_ERR(msgrcv(id, &g_m, 2, 0, IPC_NOWAIT), E2BIG);
    CHECK_EQ(msgrcv(id, &g_m, 2, 0, IPC_NOWAIT | MSG_NOERROR), 2);
    CHECK_ERR(msg_put(id, 0, "x"), EINVAL);
    CHECK_ERR(msgsnd(id, &g_m, 8193, 0), EINVAL);
    g_m.type = 1;
    CHECK(msgsnd(id, &g_m, 8192, 0) == 0);
    CHECK(msgsnd(id, &g_m, 8192, 0) == 0);
    CHECK_ERR(msgsnd(id, &g_m, 1, IPC_NOWAIT), EAGAIN); /* full */
    CHECK(msgsnd(id, &g_m, 0, IPC_NOWAIT) == 0);
    CHECK_EQ(msgrcv(id, &g_m, 9000, 0, 0), 8192);
    CHECK(msgctl(id, IPC_RMID, NULL) == 0);
    CHECK_ERR(msgrcv(id, &g_m, 10, 0, IPC_NOWAIT), EINVAL);
}

static void child_receive(void *arg)
{
    struct message m;
    (void)arg;
    for (int i = 0; i < 300; i++) {
        CHECK_EQ(msgrcv(g_id, &m, sizeof(m.text), 5, 0), 1000);
        CHECK_EQ(m.text[0], (char)i);
        CHECK_EQ(m.text[999], (char)(i + 1));
    }
}

static void case_msg_flow(void)
{
    g_id = msg_new();
    pid_t pid = guest_fork(child_receive, NULL);
    for (int i = 0; i < 300; i++) { /* more than fits: the sender waits too */
        g_m.type = 5;
        g_m.text[0] = (char)i;
        g_m.text[999] = (char)(i + 1);
        CHECK(msgsnd(g_id, &g_m, 1000, 0) == 0);
    }
    CHECK_EQ(guest_wait(pid), 0);
    CHECK(msgctl(g_id, IPC_RMID, NULL) == 0);
}

static void *thread_receive(void *arg)
{
    struct message *m = arg;
    return (void *)(intptr_t)(msgrcv(g_id, m, sizeof(m->text), 0, 0) < 0 ? errno : 0);
}

static void case_msg_removed(void)
{
    static struct message m;
    pthread_t th;
    void *r;
    g_id = msg_new();
    CHECK(pthread_create(&th, NULL, thread_receive, &m) == 0);
    guest_sleep_ms(50);
    CHECK(msgctl(g_id, IPC_RMID, NULL) == 0);
    CHECK(pthread_join(th, &r) == 0);
    CHECK_EQ((intptr_t)r, EIDRM);
}

static void case_msg_interrupted(void)
{
    struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    struct itimerval it = {.it_value = {0, 50000}};
    CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
    g_id = msg_new();
    setitimer(ITIMER_REAL, &it, NULL);
    CHECK_ERR(msgrcv(g_id, &g_m, 10, 0, 0), EINTR);
    CHECK(msgctl(g_id, IPC_RMID, NULL) == 0);
}

static const struct guest_case cases[] = {
    {"sem_basic", case_sem_basic},
    {"sem_atomic", case_sem_atomic},
    {"sem_wait", case_sem_wait},
    {"sem_removed", case_sem_removed},
    {"sem_interrupted", case_sem_interrupted},
    {"sem_timeout", case_sem_timeout},
    {"sem_undo", case_sem_undo},
    {"sem_undo_threads", case_sem_undo_threads},
    {"sem_limits", case_sem_limits},
    {"sem_pingpong", case_sem_pingpong},
    {"msg_basic", case_msg_basic},
    {"msg_flow", case_msg_flow},
    {"msg_removed", case_msg_removed},
    {"msg_interrupted", case_msg_interrupted},
};
GUEST_MAIN(cases)
