/* SPDX-License-Identifier: Apache-2.0
 * fakebox.c - see fakebox.h. The platform accepts every list of memory operations and carries none
 * out: the Sentry reads and writes guest memory through the memory file alone. */
#include "fakebox.h"

#include <elf.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <base/err.h>
#include <base/fiber.h>
#include <base/hash.h>
#include <fs/fs.h>
#include <mm/mm.h>
#include <ring/slot.h>
#include <service/boot.h>
#include <service/service.h>
#include <syscall/exec.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#define MUST(x)                                       \
    do {                                              \
        long must_r = (long)(x);                      \
        if (must_r < 0) {                             \
            fprintf(stderr, "%s: %ld\n", #x, must_r); \
            abort();                                  \
        }                                             \
    } while (0)

struct guest box_guests[BOX_GUESTS];

static struct memfile *g_mf;
static struct ring_poller_word *g_words;
static uint64_t g_lanes_off; /* one lane for each guest, never given back */
static const struct box_config *g_cfg;
static void (*g_fn)(void);
static struct path g_root, g_hidden; /* what guests see; where nobody changes the program */
static int (*g_attach)(struct task *t, struct task *near);
static void (*g_detach)(struct task *t);

/* --- the platform --- */

static int box_as_create(struct pf_as **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return -ENOMEM;
    (*ret)->pidfd = eventfd(0, EFD_CLOEXEC);
    return 0;
}

/* Threads are released afterwards and look at it until then. */
static struct pf_as *g_dead_as[256];
static unsigned g_dead_next;

static void box_as_destroy(struct pf_as *as)
{
    const uint64_t one = 1;
    struct pf_as *oldest = g_dead_as[g_dead_next];

    atomic_store(&as->gone, true);
    MUST(write(as->pidfd, &one, sizeof one));
    if (oldest)
        close(oldest->pidfd);
    free(oldest);
    g_dead_as[g_dead_next] = as;
    g_dead_next = (g_dead_next + 1) % ARRAY_SIZE(g_dead_as);
}

/* Queues are mapped where the lane says: that tells whose and where. */
static void box_ring_op(const struct pf_memop *op)
{
    uint64_t slot = (op->addr - STUB_RINGS) / RING_SLOT_SIZE;

    if (op->addr < STUB_RINGS || slot >= BOX_GUESTS)
        return;
    box_guests[slot].ring = op->op == PF_MAP ? memfile_ptr(g_mf, op->off) : NULL;
    box_guests[slot].ring_bytes = op->len;
}

static int box_as_run(struct pf_as *as, const struct pf_memop *ops, size_t n, size_t *ret_done)
{
    for (size_t i = 0; i < n; i++)
        box_ring_op(&ops[i]);
    if (ret_done)
        *ret_done = atomic_load(&as->gone) ? 0 : n;
    return atomic_load(&as->gone) ? -ESRCH : 0;
}

static int box_fd_donate(struct pf_as *as, int fd, uint64_t key)
{
    (void)as;
    (void)key;
    (void)fd;
    return -EOPNOTSUPP;
}

static void box_fd_drop(struct pf_as *as, int slot)
{
    (void)as;
    (void)slot;
}

static int box_thread_create(struct pf_as *as, const struct pf_regs *regs, const void *fpu,
                             size_t fpu_len, struct pf_thread **ret)
{
    struct guest *g = NULL;

    for (unsigned i = 0; i < BOX_GUESTS && !g; i++)
        if (!box_guests[i].used)
            g = &box_guests[i];
    if (!g)
        return -EAGAIN;
    unsigned slot = (unsigned)(g - box_guests);
    *g = (struct guest){.used = true};
    g->thread.as = as;
    g->thread.lane_off = g_lanes_off + slot * (uint64_t)LANE_SIZE;
    g->thread.lane = memfile_ptr(g_mf, g->thread.lane_off);
    g->thread.lane_addr = STUB_LANES + slot * (uint64_t)LANE_SIZE;
    g->thread.slot = slot;
    memset(g->thread.lane, 0, LANE_SIZE);
    int r = frame_build(g->thread.lane, g->thread.lane_addr, regs, fpu, fpu_len);
    g->used = r == 0;
    *ret = &g->thread;
    return r;
}

static void box_thread_destroy(struct pf_thread *t)
{
    ((struct guest *)t)->used = false;
}

static void box_thread_interrupt(struct pf_thread *t)
{
    atomic_store(&t->interrupting, true);
}

static void box_thread_reply(struct pf_thread *t, const struct pf_reply *r)
{
    if (r->kind == PF_REPLY_EXIT)
        ((struct guest *)t)->replied_exit = true;
    trap_thread_reply(t, r);
}

static int box_pidfd(struct pf_as *as)
{
    return as->pidfd;
}

static uint64_t box_cpu_ns(struct pf_thread *t)
{
    (void)t;
    return 0;
}

static void box_limits(struct pf_limits *ret)
{
    *ret = (struct pf_limits){.user_min = 0x10000,
                              .user_max = STUB_REGION,
                              .max_processes = 4096,
                              .max_threads_per_as = LANE_COUNT};
}

static uint64_t box_post_addr(void)
{
    return STUB_TEXT + 0x400;
}

static const struct platform_ops g_ops = {
    .name = "fakebox",
    .limits = box_limits,
    .as_create = box_as_create,
    .as_destroy = box_as_destroy,
    .as_run = box_as_run,
    .fd_donate = box_fd_donate,
    .fd_drop = box_fd_drop,
    .thread_create = box_thread_create,
    .thread_destroy = box_thread_destroy,
    .thread_lane = trap_thread_lane,
    .thread_lane_addr = trap_thread_lane_addr,
    .thread_set_owner = trap_thread_set_owner,
    .thread_interrupt = box_thread_interrupt,
    .thread_event = trap_thread_event,
    .thread_get_regs = trap_thread_get_regs,
    .thread_set_regs = trap_thread_set_regs,
    .thread_get_fpu = trap_thread_get_fpu,
    .thread_set_fpu = trap_thread_set_fpu,
    .thread_reply = box_thread_reply,
    .as_pidfd = box_pidfd,
    .thread_cpu_ns = box_cpu_ns,
    .post_addr = box_post_addr,
};

static int box_attach(struct task *t, struct task *near)
{
    ((struct guest *)t->thread)->task = t;
    return g_attach(t, near);
}

static void box_detach(struct task *t)
{
    ((struct guest *)t->thread)->task = NULL;
    g_detach(t);
}

/* --- the world --- */

static void mount_at(struct task *t, const char *where, struct superblock *sb)
{
    struct path at AUTO_PATH = {0};

    MUST(vfs_mkdir(t, AT_FDCWD, where, 0755));
    MUST(path_lookup(t, AT_FDCWD, where, LOOKUP_DIRECTORY, &at));
    MUST(mount_add(sb, &at, 0));
}

/* 0 or -errno; -ENOSPC: written in part, since guests have filled the file system or the memory file. */
static int write_file(struct task *t, const char *name, const void *buf, size_t len)
{
    struct file *f = vfs_open(t, AT_FDCWD, name, O_CREAT | O_RDWR, 0755);
    struct uio u;
    int64_t off = 0;

    if (IS_ERR(f))
        return (int)PTR_ERR(f);
    uio_init_kernel(&u, (void *)(uintptr_t)buf, len);
    ssize_t n = f->ops->write(f, &u, &off, 0);
    uio_fini(&u);
    file_put(f);
    if (n < 0)
        return (int)n;
    return n == (ssize_t)len ? 0 : -ENOSPC;
}

static int write_program(struct task *t)
{
    static uint8_t image[PROGRAM_TEXT_SIZE * 2 + PROGRAM_DATA_SIZE];
    Elf64_Ehdr *h = (Elf64_Ehdr *)(void *)image;
    Elf64_Phdr *p = (Elf64_Phdr *)(void *)(image + sizeof *h);

    *h = (Elf64_Ehdr){.e_type = ET_EXEC,
                      .e_machine = EM_X86_64,
                      .e_version = EV_CURRENT,
                      .e_entry = PROGRAM_TEXT,
                      .e_phoff = sizeof *h,
                      .e_ehsize = sizeof *h,
                      .e_phentsize = sizeof *p,
                      .e_phnum = 2};
    memcpy(h->e_ident, ELFMAG, SELFMAG);
    h->e_ident[EI_CLASS] = ELFCLASS64;
    h->e_ident[EI_DATA] = ELFDATA2LSB;
    h->e_ident[EI_VERSION] = EV_CURRENT;
    p[0] = (Elf64_Phdr){PT_LOAD,      PF_R | PF_X,       PROGRAM_TEXT_SIZE, PROGRAM_TEXT,
                        PROGRAM_TEXT, PROGRAM_TEXT_SIZE, PROGRAM_TEXT_SIZE, PROGRAM_TEXT_SIZE};
    p[1] = (Elf64_Phdr){PT_LOAD,      PF_R | PF_W,       PROGRAM_TEXT_SIZE * 2, PROGRAM_DATA,
                        PROGRAM_DATA, PROGRAM_DATA_SIZE, PROGRAM_DATA_SIZE,     PROGRAM_TEXT_SIZE};
    memcpy(image + PROGRAM_TEXT_SIZE, g_cfg->text, PROGRAM_TEXT_SIZE);
    memcpy(image + PROGRAM_TEXT_SIZE * 2, g_cfg->data, PROGRAM_DATA_SIZE);
    return write_file(t, "/x", image, sizeof image);
}

static struct cred *cred_root(void)
{
    struct cred *c = cred_new(0, 0, NULL, 0);

    MUST(c ? 0 : -ENOMEM);
    c->cap_effective = c->cap_permitted = ~0ULL;
    return c;
}

static struct task *box_template(uint32_t uid)
{
    static struct task t;
    static struct rlimit rlimits[RLIM_NLIMITS];

    t.process = process_init();
    if (!rlimits[RLIMIT_NOFILE].rlim_max)
        memcpy(rlimits, t.process->rlimits, sizeof rlimits);
    else /* a guest with the right to set process 1's gives them to all that come after */
        memcpy(t.process->rlimits, rlimits, sizeof rlimits);
    t.fs = fs_struct_new(&g_root, &g_root, 022);
    t.fds = fdtable_new();
    t.cred = uid ? cred_new(uid, uid, NULL, 0) : cred_root();
    MUST(t.fs && t.fds && t.cred ? 0 : -ENOMEM);
    return &t;
}

static void template_drop(struct task *t)
{
    fs_struct_put(t->fs);
    fdtable_put(t->fds);
    cred_put(t->cred);
}

int box_spawn(uint32_t uid)
{
    struct task *t = box_template(uid);
    struct fs_struct *seen = t->fs;
    struct exec_args args = {.strings = malloc(8), .strings_len = 4, .argc = 1, .envc = 1};
    struct process *p = NULL;
    struct pf_regs regs = {0};
    struct mm *mm = NULL;

    MUST(args.strings ? 0 : -ENOMEM);
    memcpy(args.strings, "x\0y\0", 4);
    t->fs = fs_struct_new(&g_hidden, &g_hidden, 022);
    MUST(t->fs ? 0 : -ENOMEM);
    int r = exec_load(t, AT_FDCWD, "/x", 0, &args, &mm, &regs, t->comm);
    free(args.strings);
    if (r == -EACCES || r == -ENOEXEC ||
        r == -ENOENT) { /* changed through /proc/self/exe: the next one finds it */
        struct cred *own = t->cred;
        t->cred = cred_root();
        (void)vfs_unlink(t, AT_FDCWD, "/x");
        int w = write_program(t); /* those who run the old one keep it: there may be no room */
        if (w) {
            (void)vfs_unlink(t, AT_FDCWD, "/x");
            r = w;
        }
        cred_put(t->cred);
        t->cred = own;
    }
    fs_struct_put(t->fs);
    t->fs = seen;
    if (r == 0) {
        r = process_create_root(mm, t->fds, t->fs, t->cred, &regs, t->comm, 0, &p);
    } else {
        mm_put(mm);
        template_drop(t);
    }
    process_put(p);
    return r;
}

static void box_boot(void *arg)
{
    static const char *const dirs[] = {"/tmp", "/d", "/d/e", "/etc"};
    (void)arg;
    MUST(mount_root(tmpfs_new(32 << 20, 01777, 0, 0), &g_root));
    struct task *t = box_template(0);
    for (unsigned i = 0; i < ARRAY_SIZE(dirs); i++)
        MUST(vfs_mkdir(t, AT_FDCWD, dirs[i], 01777));
    mount_at(t, "/proc", procfs_new());
    mount_at(t, "/sys", sysfs_new());
    mount_at(t, "/dev", devfs_new());
    MUST(write_program(t));
    MUST(write_file(t, "/tmp/s", "#!/x y z\n", 9));
    MUST(mount_internal(tmpfs_new(1 << 20, 0755, 0, 0), &g_hidden));
    fs_struct_put(t->fs);
    t->fs = fs_struct_new(&g_hidden, &g_hidden, 022);
    MUST(write_program(t));
    template_drop(t);
    g_fn();
}

static void box_init_exited(struct process *p, int32_t status)
{
    (void)p;
    (void)status;
}

void box_run(const struct box_config *cfg, void (*fn)(void))
{
    uint64_t words_off;

    g_cfg = cfg;
    g_fn = fn;
    hash_init();
    fpu_init();
    MUST(memfile_create(cfg->memory_bytes, &g_mf));
    MUST(memfile_alloc(g_mf, BOX_GUESTS * (uint64_t)LANE_SIZE, MEMFILE_ANY, &g_lanes_off));
    MUST(memfile_alloc(g_mf, 4096, MEMFILE_ANY, &words_off));
    g_words = memfile_ptr(g_mf, words_off);
    struct service_config sc = {.pollers = 1,
                                .platform = &g_ops,
                                .memfile = g_mf,
                                .poller_words = g_words,
                                .io_engine = cfg->io_engine,
                                .stats = cfg->stats,
                                .patch_after = cfg->patch_after};
    MUST(service_init(&sc));
    const struct boot_config boot = {.memfile = g_mf, .pid_max = 300, .hostname = "box"};
    MUST(boot_prepare(&boot));
    g_kernel_hooks.init_exited = box_init_exited;
    g_attach = g_kernel_hooks.task_attach;
    g_detach = g_kernel_hooks.task_detach;
    g_kernel_hooks.task_attach = box_attach;
    g_kernel_hooks.task_detach = box_detach;
    MUST(service_run(box_boot, NULL));
}

void box_stop(void)
{
    service_stop(0);
}

struct memfile *box_memfile(void)
{
    return g_mf;
}

static void say_guest(const struct guest *g)
{
    const struct lane *l = g->thread.lane;
    const struct task *t = g->task;

    fprintf(stderr, "guest %u: call %u nr %u, event %u nr %u%s%s, waits %u", g->thread.slot,
            l->call.state, l->call.nr, l->event.state, l->event.nr,
            atomic_load(&g->thread.interrupting) ? ", interrupted" : "",
            g->replied_exit ? ", told to exit" : "", g->waits);
    if (t)
        fprintf(stderr, "; task %d state %d %s call %u(%#llx, %#llx, %#llx, %#llx)%s", t->tid,
                (int)t->state, atomic_load(&t->in_call) ? "in" : "after", t->call.nr,
                (unsigned long long)t->call.args[0], (unsigned long long)t->call.args[1],
                (unsigned long long)t->call.args[2], (unsigned long long)t->call.args[3],
                atomic_load(&t->exit_requested) ? ", to exit" : "");
    fprintf(stderr, "\n");
}

void box_dump(void)
{
    void *frames[64];
    const struct call *c = fiber_local();

    fprintf(stderr, "memory file %llu of %llu KiB; %s",
            (unsigned long long)memfile_used(g_mf) >> 10,
            (unsigned long long)memfile_limit(g_mf) >> 10, c ? "" : "no call runs\n");
    if (c)
        fprintf(stderr, "call %u(%#llx, %#llx, %#llx, %#llx, %#llx, %#llx) of task %d runs\n",
                c->nr, (unsigned long long)c->args[0], (unsigned long long)c->args[1],
                (unsigned long long)c->args[2], (unsigned long long)c->args[3],
                (unsigned long long)c->args[4], (unsigned long long)c->args[5],
                c->task ? c->task->tid : 0);
    for (unsigned i = 0; i < BOX_GUESTS; i++)
        if (box_guests[i].used)
            say_guest(&box_guests[i]);
    backtrace_symbols_fd(frames, backtrace(frames, ARRAY_SIZE(frames)), STDERR_FILENO);
}
