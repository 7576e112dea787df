/* SPDX-License-Identifier: Apache-2.0
 * exec.c - from a path to a new address space, and the change of a running task to it.
 *
 *   exec_load: file -> "#!" interpreters (replaced, at most EXEC_SCRIPT_DEPTH) -> plan of the ELF
 *   file and of its PT_INTERP -> mappings, bss, stack, layout, registers. Nothing of the caller has
 *   changed when it fails.
 *   exec_task: load, ask the other threads to leave and wait for that, then the point of no return:
 *   descriptors, credentials, kernel state (task_exec_commit).
 *
 * The files are hostile: loader/elf checks every field, here only checked plans are used. Arguments
 * were copied once. Limits: EXEC_STRINGS_MAX, EXEC_ARGS_MAX, the caller's RLIMIT_STACK.
 *
 * Set-user-ID, set-group-ID and file capabilities have no effect (as on a nosuid mount). Left out:
 * a vDSO, binfmt_misc, ELF notes.
 *
 * Host: getrandom [sentry] */
#include <syscall/exec.h>

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <base/checked.h>
#include <base/err.h>
#include <elf/image.h>
#include <vfs/fdtable.h>
#include <vfs/vfs.h>

#define PIE_BASE 0x555555554000ULL /* where Linux puts them; plus up to 1 TiB */
#define PIE_RANDOM_PAGES (1ULL << 28)
#define STACK_MAX (64ULL << 20) /* when RLIMIT_STACK is higher or unlimited */
#define STACK_SLACK 8192u       /* auxv, alignment, platform string */
#define RFLAGS_START 0x202u
#define CLOCK_TICKS 100u

static struct {
    uint64_t hwcap, hwcap2, minsigstksz;
} g_host_cpu;

void exec_capture_host(void)
{
    g_host_cpu.hwcap = getauxval(AT_HWCAP);
    g_host_cpu.hwcap2 = getauxval(AT_HWCAP2);
    g_host_cpu.minsigstksz = getauxval(AT_MINSIGSTKSZ);
}

struct image {
    struct file *file;
    struct elf_plan plan;
    uint64_t bias;
};

/* All that one load needs; on the heap, because plans are big and stacks small. */
struct load {
    struct task *t;
    struct mm *mm;
    struct exec_args *args;
    char execfn[PATH_LEN_MAX];
    uint8_t head[ELF_HEAD_BYTES];
    struct image program, interp; /* interp.file: NULL if there is none */
    struct elf_stack_result stack;
};

static void load_free(struct load *l)
{
    file_put(l->program.file);
    file_put(l->interp.file);
    free(l);
}

/* --- reading --- */

static int read_exact(struct file *f, void *buf, size_t n, uint64_t off)
{
    ssize_t got = file_pread_kernel(f, buf, n, (int64_t)off);
    if (got < 0)
        return (int)got;
    return (size_t)got == n ? 0 : -ENOEXEC;
}

/* PT_INTERP whose bytes lie beyond the head. */
static int image_read_interp(struct image *img, const void *phdrs, size_t phdrs_len)
{
    char bytes[ELF_INTERP_MAX];
    uint64_t off = 0;
    size_t len = 0;
    int err = elf_interp_range(phdrs, phdrs_len, &off, &len);
    if (err < 0 || !len || img->plan.interp[0])
        return err < 0 ? err : 0;
    if (len > sizeof(bytes))
        return -ENOEXEC;
    err = read_exact(img->file, bytes, len, off);
    return err ? err : elf_set_interp(&img->plan, bytes, len);
}

static int image_read(struct load *l, struct image *img, size_t head_len)
{
    struct stat st;
    uint64_t off;
    size_t len;
    autofree uint8_t *beyond = NULL;
    const uint8_t *phdrs = NULL;

    int err = vfs_fstat(img->file, &st);
    if (!err)
        err = elf_phdrs(l->head, head_len, &off, &len);
    if (err)
        return err;
    if (off > head_len || len > head_len - off) {
        phdrs = beyond = malloc(len);
        if (!beyond)
            return -ENOMEM;
        err = read_exact(img->file, beyond, len, off);
        if (err)
            return err;
    }
    err = elf_parse(l->head, head_len, phdrs, phdrs ? len : 0, (uint64_t)st.st_size, &img->plan);
    if (err)
        return err;
    return image_read_interp(img, phdrs ? phdrs : l->head + off, len);
}

/* Puts "interp [arg] script" in the place of argv[0]. */
static int args_for_script(struct exec_args *a, const struct script_plan *s, const char *script)
{
    size_t skip = a->argc ? strlen(a->strings) + 1 : 0;
    size_t interp_len = strlen(s->interp) + 1, arg_len = s->has_arg ? strlen(s->arg) + 1 : 0;
    size_t script_len = strlen(script) + 1;
    size_t len = interp_len + arg_len + script_len + (a->strings_len - skip);
    if (len > EXEC_STRINGS_MAX)
        return -E2BIG;
    char *n = malloc(len), *p = n;
    if (!n)
        return -ENOMEM;
    memcpy(p, s->interp, interp_len);
    p += interp_len;
    memcpy(p, s->arg, arg_len);
    p += arg_len;
    memcpy(p, script, script_len);
    p += script_len;
    memcpy(p, a->strings + skip, a->strings_len - skip);
    free(a->strings);
    a->strings = n;
    a->strings_len = len;
    a->argc = a->argc - (a->argc ? 1 : 0) + 2 + (s->has_arg ? 1 : 0);
    return 0;
}

/* Follow "#!" lines to an ELF file. Leaves the head in l->head. */
static int load_program(struct load *l, int dirfd, const char *path, unsigned flags)
{
    struct script_plan script;
    char *name = l->execfn;
    for (int depth = 0;; depth++) {
        struct file *f = vfs_open_exec(l->t, dirfd, path, flags);
        if (IS_ERR(f))
            return PTR_ERR(f);
        file_put(l->program.file);
        l->program.file = f;
        ssize_t n = file_pread_kernel(f, l->head, sizeof(l->head), 0);
        if (n < 0)
            return (int)n;
        int err = script_parse(l->head, (size_t)n, &script);
        if (err == -ENOEXEC)
            return image_read(l, &l->program, (size_t)n);
        if (err)
            return err;
        if (depth == EXEC_SCRIPT_DEPTH)
            return -ELOOP;
        err = args_for_script(l->args, &script, depth ? path : name);
        if (err)
            return err;
        /* args own a copy of the name now; the path to open is kept in the first argument */
        path = l->args->strings;
        dirfd = AT_FDCWD;
        flags = 0;
    }
}

static int load_interp(struct load *l)
{
    if (!l->program.plan.interp[0])
        return 0;
    struct file *f = vfs_open_exec(l->t, AT_FDCWD, l->program.plan.interp, 0);
    if (IS_ERR(f))
        return PTR_ERR(f);
    l->interp.file = f;
    ssize_t n = file_pread_kernel(f, l->head, sizeof(l->head), 0);
    if (n < 0)
        return (int)n;
    int err = image_read(l, &l->interp, (size_t)n);
    return err == -ENOEXEC ? -ELIBBAD : err;
}

/* --- mapping --- */

static int map_fixed(struct mm *mm, uint64_t addr, uint64_t len, uint32_t prot,
                     struct mappable *file, uint64_t off)
{
    struct mm_map_args a = {.addr = addr,
                            .len = len,
                            .prot = prot,
                            .flags = MAP_PRIVATE | MAP_FIXED | (file ? 0 : MAP_ANONYMOUS),
                            .file = file,
                            .offset = off};
    int64_t r = mm_mmap(mm, &a);
    return r < 0 ? (int)r : 0;
}

static int segment_map(struct mm *mm, const struct elf_segment *s, uint64_t bias,
                       struct mappable *file)
{
    uint64_t addr = bias + s->vaddr;
    int err = 0;
    if (s->file_bytes)
        err = map_fixed(mm, addr, s->file_bytes, s->prot, file, s->file_off);
    if (!err && s->mem_bytes > s->file_bytes)
        err = map_fixed(mm, addr + s->file_bytes, s->mem_bytes - s->file_bytes, s->prot, NULL, 0);
    if (!err && s->file_bytes && s->zero_bytes && (s->prot & PROT_WRITE))
        err = clear_user(mm, UADDR(bias + s->zero_from), s->zero_bytes);
    return err;
}

static int image_map(struct mm *mm, struct image *img)
{
    if (!img->file->ops->mappable)
        return -ENOEXEC;
    struct mappable *m = img->file->ops->mappable(img->file);
    if (IS_ERR(m))
        return -ENOEXEC;
    for (uint32_t i = 0; i < img->plan.segment_count; i++) {
        int err = segment_map(mm, &img->plan.segments[i], img->bias, m);
        if (err)
            return err;
    }
    return 0;
}

static int program_place(struct image *img)
{
    uint64_t random = 0;
    if (!img->plan.pie)
        return 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return -EIO;
    uint64_t base = PIE_BASE + random % PIE_RANDOM_PAGES * PAGE_SIZE;
    img->bias = align_down(base, MAX(img->plan.align, PAGE_SIZE)) - img->plan.lo;
    return 0;
}

/* The interpreter goes where mmap puts it: reserve its span, then map over that. */
static int interp_place(struct mm *mm, struct image *img)
{
    if (!img->plan.pie)
        return 0;
    uint64_t align = MAX(img->plan.align, PAGE_SIZE);
    struct mm_map_args a = {.len = img->plan.hi - img->plan.lo + align - PAGE_SIZE,
                            .prot = PROT_NONE,
                            .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE};
    int64_t at = mm_mmap(mm, &a);
    if (at < 0)
        return (int)at;
    img->bias = align_up((uint64_t)at, align) - img->plan.lo;
    return 0;
}

/* --- stack --- */

static size_t auxv_fill(struct load *l, uint64_t (*v)[2])
{
    const struct cred *c = l->t->cred;
    const struct elf_plan *p = &l->program.plan;
    size_t n = 0;
    struct pf_limits limits;

    g_platform->limits(&limits);
#define AUX(type, value)     \
    do {                     \
        v[n][0] = (type);    \
        v[n++][1] = (value); \
    } while (0)
    if (limits.vdso)
        AUX(AT_SYSINFO_EHDR, limits.vdso);
    AUX(AT_HWCAP, g_host_cpu.hwcap);
    AUX(AT_PAGESZ, PAGE_SIZE);
    AUX(AT_CLKTCK, CLOCK_TICKS);
    AUX(AT_PHDR, p->phdr ? p->phdr + l->program.bias : 0);
    AUX(AT_PHENT, p->phentsize);
    AUX(AT_PHNUM, p->phnum);
    AUX(AT_BASE, l->interp.file ? l->interp.bias : 0);
    AUX(AT_FLAGS, 0);
    AUX(AT_ENTRY, p->entry + l->program.bias);
    AUX(AT_UID, c->uid);
    AUX(AT_EUID, c->euid);
    AUX(AT_GID, c->gid);
    AUX(AT_EGID, c->egid);
    AUX(AT_SECURE, 0);
    AUX(AT_HWCAP2, g_host_cpu.hwcap2);
    if (g_host_cpu.minsigstksz)
        AUX(AT_MINSIGSTKSZ, g_host_cpu.minsigstksz);
#undef AUX
    return n;
}

static int load_stack(struct load *l, uint64_t limit)
{
    const struct exec_args *args = l->args;
    uint64_t auxv[24][2];
    uint8_t random16[16];
    bool exec = l->program.plan.exec_stack;

    limit = MIN(align_down(limit, PAGE_SIZE), STACK_MAX);
    size_t size =
        args->strings_len + 8 * ((size_t)args->argc + args->envc) + strlen(l->execfn) + STACK_SLACK;
    if (size > limit / 4 * 3)
        return -E2BIG;
    int64_t top = mm_map_stack(l->mm, limit, exec);
    if (top < 0)
        return (int)top;
    if (getrandom(random16, sizeof(random16), 0) != (ssize_t)sizeof(random16))
        return -EIO;
    autofree uint8_t *image = malloc(size);
    if (!image)
        return -ENOMEM;
    struct elf_stack s = {.top = (uint64_t)top,
                          .argc = args->argc,
                          .envc = args->envc,
                          .strings = args->strings,
                          .strings_len = args->strings_len,
                          .execfn = l->execfn,
                          .random16 = random16,
                          .auxv = (const uint64_t(*)[2])auxv,
                          .auxc = auxv_fill(l, auxv)};
    int used = elf_stack_build(&s, image, size, &l->stack);
    if (used < 0)
        return used;
    return copy_out_force(l->mm, UADDR(l->stack.sp), image + size - l->stack.bytes, l->stack.bytes);
}

static void load_layout(struct load *l)
{
    const struct elf_plan *p = &l->program.plan;
    uint64_t bias = l->program.bias;
    struct mm_layout y = {.start_code = p->code_start + bias,
                          .end_code = p->code_end + bias,
                          .start_data = p->data_start + bias,
                          .end_data = p->data_end + bias,
                          .start_brk = p->brk + bias,
                          .start_stack = l->stack.sp,
                          .arg_start = l->stack.arg_start,
                          .arg_end = l->stack.arg_end,
                          .env_start = l->stack.env_start,
                          .env_end = l->stack.env_end};
    static_assert(sizeof(y.auxv) == sizeof(l->stack.auxv), "both hold the whole vector");
    memcpy(y.auxv, l->stack.auxv, sizeof(y.auxv));
    mm_set_layout(l->mm, &y);
}

static void exe_put(void *f)
{
    file_put(f);
}

static int load_into_mm(struct load *l)
{
    struct mm_limits limits;
    struct process *p = l->t->process;
    spin_lock(&p->lock);
    limits.as = p->rlimits[RLIMIT_AS].rlim_cur;
    limits.data = p->rlimits[RLIMIT_DATA].rlim_cur;
    limits.stack = p->rlimits[RLIMIT_STACK].rlim_cur;
    spin_unlock(&p->lock);
    mm_set_limits(l->mm, &limits);
    int err = program_place(&l->program);
    if (!err)
        err = image_map(l->mm, &l->program);
    if (!err && l->interp.file)
        err = interp_place(l->mm, &l->interp);
    if (!err && l->interp.file)
        err = image_map(l->mm, &l->interp);
    if (!err)
        err = load_stack(l, limits.stack);
    if (err)
        return err;
    load_layout(l);
    mm_set_exe(l->mm, file_get(l->program.file), exe_put);
    return 0;
}

static int execfn_format(struct load *l, int dirfd, const char *path)
{
    int n;
    if (dirfd == AT_FDCWD || path[0] == '/')
        n = snprintf(l->execfn, sizeof(l->execfn), "%s", path);
    else if (!path[0])
        n = snprintf(l->execfn, sizeof(l->execfn), "/dev/fd/%d", dirfd);
    else
        n = snprintf(l->execfn, sizeof(l->execfn), "/dev/fd/%d/%s", dirfd, path);
    return n < 0 || (size_t)n >= sizeof(l->execfn) ? -ENAMETOOLONG : 0;
}

static void comm_from_path(const char *path, char ret[TASK_COMM_LEN])
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    memset(ret, 0, TASK_COMM_LEN);
    memcpy(ret, base, strnlen(base, TASK_COMM_LEN - 1));
}

int exec_load(struct task *t, int dirfd, const char *path, unsigned lookup_flags,
              struct exec_args *args, struct mm **ret_mm, struct pf_regs *ret_regs,
              char ret_comm[TASK_COMM_LEN])
{
    struct load *l = calloc(1, sizeof(*l));
    if (!l)
        return -ENOMEM;
    l->t = t;
    l->args = args;
    int err = execfn_format(l, dirfd, path);
    if (!err)
        err = load_program(l, dirfd, path, lookup_flags);
    if (!err)
        err = load_interp(l);
    if (err) {
        load_free(l);
        return err;
    }
    l->mm = mm_new();
    err = IS_ERR(l->mm) ? PTR_ERR(l->mm) : load_into_mm(l);
    if (err) {
        if (!IS_ERR(l->mm))
            mm_put(l->mm);
        load_free(l);
        return err;
    }
    const struct image *first = l->interp.file ? &l->interp : &l->program;
    memset(ret_regs, 0, sizeof(*ret_regs));
    ret_regs->rip = first->plan.entry + first->bias;
    ret_regs->rsp = l->stack.sp;
    ret_regs->eflags = RFLAGS_START;
    comm_from_path(l->execfn, ret_comm);
    *ret_mm = l->mm;
    load_free(l);
    return 0;
}
