/* SPDX-License-Identifier: Apache-2.0
 * task_fakes.h - platform, address spaces and hooks of task_test.c: counters instead of hosts. */
#ifndef TASK_FAKES_H
#define TASK_FAKES_H

#include <ring/abi.h>

struct mm {
    int refs;
    bool killed;
};
static int mms, threads, attached, files, fs_structs, kicks;
static int fail_fork, fail_thread;
static struct process *ended;
static int32_t ended_status;

static struct mm *fake_mm_new(void)
{
    struct mm *mm = calloc(1, sizeof(*mm));
    mm->refs = 1;
    mms++;
    return mm;
}

struct mm *mm_fork(struct mm *parent)
{
    (void)parent;
    return fail_fork ? ERR_PTR(fail_fork) : fake_mm_new();
}

struct mm *mm_get(struct mm *mm)
{
    mm->refs++;
    return mm;
}

void mm_put(struct mm *mm)
{
    if (!mm || --mm->refs)
        return;
    mms--;
    free(mm);
}

void mm_put_later(struct mm *mm)
{
    mm_put(mm);
}

void mm_kill(struct mm *mm)
{
    mm->killed = true;
}

struct pf_as *mm_as(struct mm *mm)
{
    return (struct pf_as *)mm;
}

static int32_t written_tid[2];

int copy_out(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    (void)mm;
    if (dst.va < 2 && n == sizeof(int32_t))
        memcpy(&written_tid[dst.va], src, n);
    return 0;
}

int copy_out_force(struct mm *mm, uaddr_t dst, const void *src, size_t n)
{
    return copy_out(mm, dst, src, n);
}

int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n)
{
    (void)mm;
    (void)src;
    memset(dst, 0, n);
    return 0;
}

int user_load32(struct mm *mm, uaddr_t a, uint32_t *ret)
{
    (void)mm;
    (void)a;
    *ret = 0;
    return 0;
}

int user_cmpxchg32(struct mm *mm, uaddr_t a, uint32_t *expected, uint32_t desired, bool *ret_done)
{
    (void)mm;
    (void)a;
    (void)expected;
    (void)desired;
    *ret_done = true;
    return 0;
}

/* System V shared memory: nothing here attaches any. */
struct mappable *shm_new(uint64_t len)
{
    (void)len;
    return ERR_PTR(-ENOMEM);
}
void mappable_init(struct mappable *m, const struct mappable_ops *ops)
{
    m->ops = ops;
}
void mappable_fini(struct mappable *m)
{
    (void)m;
}
uint64_t mappable_map_count(struct mappable *m)
{
    (void)m;
    return 0;
}
int64_t mm_mmap(struct mm *mm, const struct mm_map_args *a)
{
    (void)mm;
    (void)a;
    return -ENOMEM;
}
int mm_munmap(struct mm *mm, uint64_t addr, uint64_t len, struct mm_self *ret_self)
{
    (void)mm;
    (void)addr;
    (void)len;
    (void)ret_self;
    return 0;
}
bool mm_attach_next(struct mm *mm, uint64_t addr, uint64_t from, uint64_t end,
                    const struct mappable_ops *ops, const struct mappable *file,
                    uint64_t *ret_start, uint64_t *ret_end, struct mappable **ret_file)
{
    (void)mm;
    (void)addr;
    (void)from;
    (void)end;
    (void)ops;
    (void)file;
    (void)ret_start;
    (void)ret_end;
    (void)ret_file;
    return false;
}
void mm_set_counted(struct mm *mm)
{
    (void)mm;
}
bool mm_counted(const struct mm *mm)
{
    (void)mm;
    return false;
}

int mm_futex_key(struct mm *mm, uaddr_t a, bool shared, struct futex_key *ret)
{
    (void)shared;
    *ret = (struct futex_key){(uint64_t)(uintptr_t)mm, a.va};
    return 0;
}

struct pf_thread {
    struct pf_regs regs;
    struct lane lane;
};

static int fake_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                              size_t fpu_len, struct pf_thread **ret)
{
    (void)as;
    (void)fpu;
    (void)fpu_len;
    if (fail_thread)
        return fail_thread;
    *ret = calloc(1, sizeof(**ret));
    (*ret)->regs = *regs;
    threads++;
    return 0;
}

static void fake_thread_destroy(struct pf_thread *t)
{
    threads--;
    free(t);
}

static struct lane *fake_thread_lane(struct pf_thread *t)
{
    return &t->lane;
}

static void fake_thread_get_regs(struct pf_thread *t, struct pf_regs *ret)
{
    *ret = t->regs;
}

static size_t fake_thread_get_fpu(struct pf_thread *t, void *buf, size_t size)
{
    (void)t;
    (void)buf;
    (void)size;
    return 0;
}

static uint64_t fake_thread_cpu_ns(struct pf_thread *t)
{
    (void)t;
    return 3000000; /* 3 ms each */
}

static const struct platform_ops fake_platform = {
    .name = "fake",
    .thread_create = fake_thread_create,
    .thread_destroy = fake_thread_destroy,
    .thread_lane = fake_thread_lane,
    .thread_get_regs = fake_thread_get_regs,
    .thread_get_fpu = fake_thread_get_fpu,
    .thread_cpu_ns = fake_thread_cpu_ns,
};

static int fake_clone_fds(struct fdtable *from, bool share, struct fdtable **ret)
{
    (void)share;
    *ret = from;
    files++;
    return 0;
}

static int fake_clone_fs(struct fs_struct *from, bool share, struct fs_struct **ret)
{
    (void)share;
    *ret = from;
    fs_structs++;
    return 0;
}

static void fake_fds_put(struct fdtable *f)
{
    (void)f;
    files--;
}

static void fake_fs_put(struct fs_struct *f)
{
    (void)f;
    fs_structs--;
}

static int fake_attach(struct task *t, struct task *near)
{
    (void)t;
    (void)near;
    attached++;
    return 0;
}

static void fake_detach(struct task *t)
{
    attached--;
    fake_thread_destroy(t->thread);
    t->thread = NULL;
}

static void fake_kick(struct task *t)
{
    (void)t;
    kicks++;
}

static void fake_init_exited(struct process *p, int32_t status)
{
    ended = p;
    ended_status = status;
}

static void fake_ready(struct call *c)
{
    (void)c;
}

#endif
