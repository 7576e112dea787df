/* SPDX-License-Identifier: Apache-2.0
 * sysvshm.c - System V shared memory, and who may use which object. */
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

#define SIZE 10000u

static int shm_new(size_t size)
{
    int id = shmget(IPC_PRIVATE, size, 0600);
    CHECK(id >= 0);
    return id;
}

static void shm_remove(int id)
{
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
}

static struct shmid_ds shm_stat(int id)
{
    struct shmid_ds d;
    CHECK(shmctl(id, IPC_STAT, &d) == 0);
    return d;
}

static void case_shm_basic(void)
{
    int id = shm_new(SIZE);
    struct shmid_ds d = shm_stat(id);
    CHECK_EQ(d.shm_segsz, SIZE);
    CHECK_EQ(d.shm_nattch, 0);
    CHECK_EQ(d.shm_cpid, getpid());
    CHECK_EQ(d.shm_lpid, 0);
    CHECK_EQ(d.shm_perm.mode, 0600);
    CHECK_EQ(d.shm_perm.uid, geteuid());
    char *a = shmat(id, NULL, 0), *b = shmat(id, NULL, SHM_RDONLY);
    CHECK(a != (void *)-1 && b != (void *)-1 && a != b);
    CHECK_EQ(a[0], 0);
    a[0] = 7;
    a[SIZE - 1] = 8;
    a[12287] = 9; /* pages are whole */
    CHECK_EQ(b[0], 7);
    CHECK_EQ(b[SIZE - 1], 8);
    CHECK_EQ(b[12287], 9);
    CHECK_EQ(shm_stat(id).shm_nattch, 2);
    CHECK_EQ(shm_stat(id).shm_lpid, getpid());
    CHECK_ERR(mprotect(b, 4096, PROT_READ | PROT_WRITE), EACCES);
    CHECK(shmdt(b) == 0);
    CHECK_ERR(shmdt(b), EINVAL);
    CHECK_ERR(shmdt(a + 4096), EINVAL);
    CHECK_EQ(shm_stat(id).shm_nattch, 1);
    CHECK(shmdt(a) == 0);
    char *again = shmat(id, NULL, 0);
    CHECK_EQ(again[0], 7); /* kept without anybody attached */
    CHECK(shmdt(again) == 0);
    shm_remove(id);
    CHECK_ERR(shmctl(id, IPC_STAT, &d), EINVAL);
    CHECK(shmat(id, NULL, 0) == (void *)-1);
}

static void case_shm_place(void)
{
    int id = shm_new(8192);
    char *hole = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(hole != MAP_FAILED);
    CHECK(shmat(id, hole, 0) == (void *)-1 && errno == EINVAL); /* there is something */
    CHECK(shmat(id, hole + 4096, SHM_REMAP) == hole + 4096);
    CHECK(munmap(hole, 4096) == 0 && munmap(hole + 12288, 65536 - 12288) == 0);
    CHECK(shmat(id, hole + 16384 + 5, 0) == (void *)-1 && errno == EINVAL);
    CHECK(shmat(id, hole + 16384 + 5, SHM_RND) == hole + 16384);
    CHECK(shmat(id, NULL, SHM_REMAP) == (void *)-1 && errno == EINVAL);
    hole[16384] = 5;
    CHECK_EQ(hole[4096], 5);
    CHECK_EQ(shm_stat(id).shm_nattch, 2);
    /* A piece less: the rest still goes as one. */
    CHECK(munmap(hole + 4096, 4096) == 0);
    CHECK_EQ(shm_stat(id).shm_nattch, 2);
    CHECK(shmdt(hole + 4096) == 0);
    CHECK_EQ(shm_stat(id).shm_nattch, 1);
    CHECK(shmdt(hole + 16384) == 0);
    shm_remove(id);
}

static void case_shm_keys(void)
{
    key_t key = (key_t)(0x52420000 + getpid());
    CHECK_ERR(shmget(key, 4096, 0600), ENOENT);
    int id = shmget(key, 4096, IPC_CREAT | 0600);
    CHECK(id >= 0);
    CHECK_EQ(shmget(key, 4096, IPC_CREAT | 0600), id);
    CHECK_EQ(shmget(key, 0, 0), id);
    CHECK_EQ(shmget(key, 100, 0), id);
    CHECK_ERR(shmget(key, 4097, 0), EINVAL);
    CHECK_ERR(shmget(key, 4096, IPC_CREAT | IPC_EXCL | 0600), EEXIST);
    CHECK_ERR(shmget(IPC_PRIVATE, 0, 0600), EINVAL);
    CHECK_ERR(shmget(key + 1, 0, IPC_CREAT | 0600), EINVAL);
    CHECK_ERR(shmctl(-1, IPC_RMID, NULL), EINVAL);
    CHECK_ERR(shmctl(id, 99, NULL), EINVAL);
    shm_remove(id);
    CHECK_ERR(shmget(key, 4096, 0600), ENOENT);
}

/* Removed while attached: there until the last one lets go, without its key. */
static void case_shm_removed(void)
{
    key_t key = (key_t)(0x52430000 + getpid());
    int id = shmget(key, 4096, IPC_CREAT | 0600);
    char *a = shmat(id, NULL, 0);
    CHECK(a != (void *)-1);
    shm_remove(id);
    struct shmid_ds d = shm_stat(id);
    CHECK_EQ(d.shm_perm.mode & SHM_DEST, SHM_DEST);
    CHECK_EQ(d.shm_perm.__key, IPC_PRIVATE);
    CHECK_ERR(shmget(key, 4096, 0), ENOENT);
    char *b = shmat(id, NULL, 0);
    CHECK(b != (void *)-1);
    a[1] = 3;
    CHECK_EQ(b[1], 3);
    CHECK(shmdt(a) == 0);
    CHECK_EQ(shm_stat(id).shm_nattch, 1);
    CHECK(shmdt(b) == 0);
    CHECK_ERR(shmctl(id, IPC_STAT, &d), EINVAL);
}

static int g_id;
static char *g_at;

static void child_touch(void *arg)
{
    (void)arg;
    CHECK_EQ(shm_stat(g_id).shm_nattch, 2);
    CHECK_EQ(g_at[0], 1);
    g_at[0] = 2;
}

static void case_shm_fork(void)
{
    g_id = shm_new(4096);
    g_at = shmat(g_id, NULL, 0);
    g_at[0] = 1;
    pid_t pid = guest_fork(child_touch, NULL);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(g_at[0], 2);
    CHECK_EQ(shm_stat(g_id).shm_nattch, 1); /* the child's went with it */
    CHECK(shmdt(g_at) == 0);
    shm_remove(g_id);
}

static void child_exec(void *arg)
{
    (void)arg;
    execl("/bin/true", "true", (char *)NULL);
    _exit(9);
}

static void case_shm_exec(void)
{
    g_id = shm_new(4096);
    g_at = shmat(g_id, NULL, 0);
    pid_t pid = guest_fork(child_exec, NULL);
    CHECK_EQ(guest_wait(pid), 0);
    CHECK_EQ(shm_stat(g_id).shm_nattch, 1);
    CHECK(munmap(g_at, 4096) == 0); /* as good as shmdt */
    CHECK_EQ(shm_stat(g_id).shm_nattch, 0);
    shm_remove(g_id);
}

static void case_shm_limit(void)
{
    struct shminfo info;
    struct shm_info used;
    static int ids[8192];
    int n = 0;
    CHECK(shmctl(0, IPC_INFO, (struct shmid_ds *)&info) >= 0);
    CHECK_EQ(info.shmmin, 1);
    CHECK_EQ(info.shmmni, 4096);
    CHECK(shmctl(0, SHM_INFO, (struct shmid_ds *)&used) >= 0);
    int room = (int)info.shmmni - used.used_ids;
    while (n < room && (ids[n] = shmget(IPC_PRIVATE, 1, 0600)) >= 0)
        n++;
    CHECK_EQ(n, room);
    CHECK_ERR(shmget(IPC_PRIVATE, 1, 0600), ENOSPC);
    while (n > 0)
        shm_remove(ids[--n]);
    if (info.shmall < ULONG_MAX >> 24) { /* all together */
        int big = shmget(IPC_PRIVATE, (info.shmall - used.shm_tot) << 12, 0600);
        CHECK(big >= 0);
        CHECK_ERR(shmget(IPC_PRIVATE, 1, 0600), ENOSPC);
        shm_remove(big);
    }
    int id = shmget(IPC_PRIVATE, 1, 0600);
    CHECK(id >= 0);
    shm_remove(id);
}

static void case_shm_stat_slots(void)
{
    int id = shm_new(4096), seen = 0;
    struct shminfo info;
    struct shmid_ds d;
    int highest = shmctl(0, IPC_INFO, (struct shmid_ds *)&info);
    CHECK(highest >= 0);
    for (int i = 0; i <= highest; i++) {
        int r = shmctl(i, SHM_STAT, &d);
        seen += r == id && d.shm_segsz == 4096;
    }
    CHECK_EQ(seen, 1);
    struct shmid_ds set = shm_stat(id);
    set.shm_perm.mode = 0640;
    CHECK(shmctl(id, IPC_SET, &set) == 0);
    CHECK_EQ(shm_stat(id).shm_perm.mode, 0640);
    CHECK(shmctl(id, SHM_LOCK, NULL) == 0);
    CHECK(shm_stat(id).shm_perm.mode & SHM_LOCKED);
    CHECK(shmctl(id, SHM_UNLOCK, NULL) == 0);
    shm_remove(id);
}

static void case_permission(void)
{
    if (geteuid())
        SKIP("needs root");
    int shm = shmget(IPC_PRIVATE, 4096, 0600), open = shmget(IPC_PRIVATE, 4096, 0604);
    int sem = semget(IPC_PRIVATE, 1, 0604), msg = msgget(IPC_PRIVATE, 0602);
    CHECK(shm >= 0 && open >= 0 && sem >= 0 && msg >= 0);
    CHECK(setgroups(0, NULL) == 0 && setresgid(12345, 12345, 0) == 0);
    CHECK(setresuid(12345, 12345, 0) == 0); /* root has lost its capabilities */
    struct shmid_ds d;
    struct sembuf up = {0, 1, 0}, zero = {0, 0, 0};
    struct msqid_ds q;
    struct {
        long type;
        char text[8];
    } m = {1, "x"};
    CHECK(shmat(shm, NULL, SHM_RDONLY) == (void *)-1 && errno == EACCES);
    CHECK(shmat(open, NULL, 0) == (void *)-1 && errno == EACCES);
    CHECK(shmat(open, NULL, SHM_RDONLY) != (void *)-1);
    CHECK_ERR(shmctl(shm, IPC_STAT, &d), EACCES);
    CHECK(shmctl(open, IPC_STAT, &d) == 0);
    CHECK_ERR(shmctl(open, IPC_RMID, NULL), EPERM);
    CHECK_ERR(semop(sem, &up, 1), EACCES);
    CHECK(semop(sem, &zero, 1) == 0);
    CHECK_ERR(semctl(sem, 0, SETVAL, 1), EACCES);
    CHECK_EQ(semctl(sem, 0, GETVAL), 0);
    CHECK_ERR(semctl(sem, 0, IPC_RMID), EPERM);
    CHECK(msgsnd(msg, &m, 1, IPC_NOWAIT) == 0);
    CHECK_ERR(msgrcv(msg, &m, 8, 0, IPC_NOWAIT), EACCES);
    CHECK_ERR(msgctl(msg, IPC_STAT, &q), EACCES);
    CHECK(setresuid(0, 0, 0) == 0);
    shm_remove(shm);
    shm_remove(open);
    CHECK(semctl(sem, 0, IPC_RMID) == 0 && msgctl(msg, IPC_RMID, NULL) == 0);
}

static const struct guest_case cases[] = {
    {"shm_basic", case_shm_basic},   {"shm_place", case_shm_place},
    {"shm_keys", case_shm_keys},     {"shm_removed", case_shm_removed},
    {"shm_fork", case_shm_fork},     {"shm_exec", case_shm_exec},
    {"shm_limit", case_shm_limit},   {"shm_stat_slots", case_shm_stat_slots},
    {"permission", case_permission},
};
GUEST_MAIN(cases)
