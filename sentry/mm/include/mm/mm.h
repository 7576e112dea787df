/* SPDX-License-Identifier: Apache-2.0
 * mm.h - guest address spaces: what was asked (VMAs), what is mapped where (backing), and the only
 * way from a guest address to memory.
 *
 * One struct mm per guest address space, shared by its threads and by CLONE_VM children. Its lock
 * (fiber mutex, RANK_MM) is taken inside; callers hold no spin lock. Functions return 0 or -errno
 * as the Linux call of the same name does.
 */
#ifndef MM_MM_H
#define MM_MM_H

#include <sys/types.h>
#include <sys/uio.h>

#include <abi/types.h>
#include <base/compiler.h>
#include <base/platform.h>

struct fwindow;
struct mm;
struct memfile;
struct platform_ops;

/* What a file must offer to be mapped; implemented above (vfs), embedded in its inode. Refcounted
 * by the implementor. */
struct mappable;
struct mappable_id {
    uint64_t dev, ino, size;
    int64_t mtime_ns, ctime_ns;
};
struct mappable_ops {
    void (*get)(struct mappable *m);
    void (*put)(struct mappable *m);
    /* Host descriptor with which guests may map the file directly (donated by a gofer), or -1. The
     * descriptor stays the mappable's and valid while a reference is held. @write: a descriptor
     * that may be mapped shared and writable is wanted. */
    int (*host_fd)(struct mappable *m, bool write);
    /* Otherwise: offset in the memory file that holds page @index of the file (read in or allocated
     * on demand; may park), contiguous for *ret_count pages (in: wanted). -errno: 0 pages. A page
     * past the end is -ENXIO (SIGBUS). Pages stay valid while mapped (mm registers below). */
    int (*page)(struct mappable *m, uint64_t index, bool write, uint64_t *ret_off,
                uint64_t *ret_count);
    /* Size of the file now, bytes (may park). */
    int64_t (*size)(struct mappable *m);
    /* For /proc/PID/maps: writes a NUL-terminated path, dev and ino. */
    void (*describe)(struct mappable *m, char *buf, size_t len, uint64_t *ret_dev,
                     uint64_t *ret_ino);
    /* What the content is known by: equal only while it is the same (may park). -errno: it can change
     * unseen. NULL: the same. */
    int (*identity)(struct mappable *m, struct mappable_id *ret);
};
/* @maps and below are mm's: list of VMAs that map it, for truncation. */
struct mappable {
    const struct mappable_ops *ops;
    uint64_t id;                /* never another's */
    struct mappable_maps *maps; /* mm/rmap.c; NULL until mapped */
};
void mappable_init(struct mappable *m, const struct mappable_ops *ops);
void mappable_fini(struct mappable *m);

/**
 * mappable_truncated - pages from byte @size on are gone: remove them from every address space
 * (later touches raise SIGBUS). Call after the size has changed, before pages are freed. May park.
 */
void mappable_truncated(struct mappable *m, uint64_t size);

/* @n bytes at @off of the host's pages, for one that has descriptors; @fd is one of it. False: they cannot be
 * had, it has shrunk perhaps. Never parks, but waits for what the host does not have in its cache. */
bool mappable_peek(struct mappable *m, int fd, uint64_t off, void *buf, size_t n);

/* How many mappings of it there are, in all address spaces. */
uint64_t mappable_map_count(struct mappable *m);

/* Memory that address spaces can share: @len (page multiple) zero bytes. One reference, or
 * ERR_PTR(-ENOMEM). */
struct mappable *shm_new(uint64_t len);

/* --- life --- */

int mm_init(const struct platform_ops *ops, struct memfile *mf); /* once */
/* Most memory that is kept for reuse when guests have given it up; 0 (so at first): none. */
void mm_pool_limit(uint64_t bytes);

/**
 * mm_new - empty address space with a host process of its own.
 * Return: mm with one reference, or ERR_PTR(-EAGAIN, -ENOMEM).
 */
struct mm *mm_new(void);
struct mm *mm_fork(struct mm *parent); /* copy-on-write copy; takes parent's lock. ERR_PTR */
struct mm *mm_get(struct mm *mm);
void mm_put(struct mm *mm); /* last: destroys the host process */
/* The same, but in an idle moment of a poller, which calls mm_later_run(): the caller's parent or
 * new program runs first. At once when memory is short, the address space large, or others wait. */
void mm_put_later(struct mm *mm);
bool mm_later_any(void);
bool mm_later_run(void); /* one; false: none waited. May park */
/* Also runs what has been collected while there was no thread (mm/ops.c); may park. After mm_kill()
 * the pointer is good only as long as the backend keeps it for threads that still exist. */
struct pf_as *mm_as(struct mm *mm);

/* Kill the host process now (OOM, violation, group exit); later operations return -ESRCH. */
void mm_kill(struct mm *mm);

/* --- system calls on address space; arguments unchecked as the guest gave them --- */

struct mm_map_args {
    uint64_t addr, len;
    uint32_t prot, flags;  /* PROT_*, MAP_* */
    struct mappable *file; /* borrowed; NULL = anonymous */
    uint64_t offset;
    bool file_writable; /* shared mapping may get PROT_WRITE */
    const char *name;   /* "[heap]", "[stack]" for maps, static, or NULL */
};
int64_t mm_mmap(struct mm *mm, const struct mm_map_args *a); /* address or -errno */

/* What the calling thread must do itself before it goes on (DESIGN 5: exact on return). The caller
 * copies this into the reply of the call. op = 0: nothing. */
struct mm_self {
    uint32_t op;
    uint64_t addr, len;
};
int mm_munmap(struct mm *mm, uint64_t addr, uint64_t len, struct mm_self *ret_self);
/**
 * mm_attach_next - the first mapping at or above @addr and below @end of a file of kind @ops that
 * was put at @addr as a whole (its offset is its distance from @addr).
 * @file: the file wanted, or NULL for any. false: none. Pieces of one mapping come one by one.
 * *ret_file is only good for comparing.
 */
bool mm_attach_next(struct mm *mm, uint64_t addr, uint64_t from, uint64_t end,
                    const struct mappable_ops *ops, const struct mappable *file,
                    uint64_t *ret_start, uint64_t *ret_end, struct mappable **ret_file);
/* Its mappings are counted: at exit they go before the parent is told. Inherited by fork. */
void mm_set_counted(struct mm *mm);
bool mm_counted(const struct mm *mm);
int mm_mprotect(struct mm *mm, uint64_t addr, uint64_t len, uint32_t prot,
                struct mm_self *ret_self);
int64_t mm_mremap(struct mm *mm, uint64_t addr, uint64_t old_len, uint64_t new_len, uint32_t flags,
                  uint64_t new_addr);
int64_t mm_brk(struct mm *mm, uint64_t addr);
int mm_madvise(struct mm *mm, uint64_t addr, uint64_t len, int advice);
int mm_msync(struct mm *mm, uint64_t addr, uint64_t len, int flags);
int mm_mincore(struct mm *mm, uint64_t addr, uint64_t len, uaddr_t vec);
int mm_mlock(struct mm *mm, uint64_t addr, uint64_t len, bool lock);
int mm_mlockall(struct mm *mm, bool current_too, bool future); /* both false: munlockall */
uint64_t mm_locked_bytes(struct mm *mm);
/* membarrier: @kind is the MEMBARRIER_CMD_REGISTER_* bit. -EPERM: not registered. */
void mm_barrier_register(struct mm *mm, uint32_t kinds);
int mm_barrier(struct mm *mm, uint32_t kind);

/* For the loader: where the heap starts; where code, data, arguments lie (for /proc). */
struct mm_layout {
    uint64_t start_code, end_code, start_data, end_data, start_brk, start_stack;
    uint64_t arg_start, arg_end, env_start, env_end;
    uint64_t auxv[64]; /* pairs, as on the stack */
};
void mm_set_layout(struct mm *mm, const struct mm_layout *l); /* also sets brk */
void mm_get_layout(struct mm *mm, struct mm_layout *ret);
/* Stack: a growing mapping below the top of user space, of at most @limit bytes; returns its highest address. */
int64_t mm_map_stack(struct mm *mm, uint64_t limit, bool exec);
/* exe of the process, for /proc/PID/exe; an opaque reference kept for the caller. */
void mm_set_exe(struct mm *mm, void *exe, void (*put)(void *));
void *mm_exe(struct mm *mm);

struct mm_limits {
    uint64_t as, data, stack; /* RLIMIT_AS, DATA, STACK in bytes; UINT64_MAX none */
};
void mm_set_limits(struct mm *mm, const struct mm_limits *l);

/* --- faults --- */

/**
 * mm_fault - a guest thread touched @addr with @access (PF_ACCESS_*).
 * Return: 0: backed now, run again. Otherwise -EFAULT with the signal to raise in *ret_signo,
 * *ret_code (SEGV_MAPERR, SEGV_ACCERR, BUS_ADRERR), or -ENOMEM: kill the process (memory limit).
 */
int mm_fault(struct mm *mm, uint64_t addr, uint32_t access, uint64_t sp, int *ret_signo,
             int *ret_code);

/* --- access to guest memory (uaccess.c). All return 0 or -EFAULT/-ENOMEM; they back pages and
 * break copy-on-write as the guest's own access would. May park. Copies are bounded by n. --- */

NODISCARD int copy_in(struct mm *mm, void *dst, uaddr_t src, size_t n);
NODISCARD int copy_out(struct mm *mm, uaddr_t dst, const void *src, size_t n);
NODISCARD int clear_user(struct mm *mm, uaddr_t dst, size_t n);
/* Like the above but ignoring page rights (debuggers, exec): the mapping must exist. */
NODISCARD int copy_in_force(struct mm *mm, void *dst, uaddr_t src, size_t n);
NODISCARD int copy_out_force(struct mm *mm, uaddr_t dst, const void *src, size_t n);
/* NUL-terminated string of at most size-1 bytes. Length, -EFAULT, or -ENAMETOOLONG. */
NODISCARD ssize_t copy_in_string(struct mm *mm, char *dst, uaddr_t src, size_t size);
/* How many bytes from src on could be read / written: at most n; for partial results. */
#define copy_in_obj(mm, obj, src) copy_in((mm), (obj), (src), sizeof *(obj))
#define copy_out_obj(mm, dst, obj) copy_out((mm), (dst), (obj), sizeof *(obj))

/* Atomics on aligned 32-bit words (futexes). -EFAULT, -EINVAL when misaligned. */
NODISCARD int user_load32(struct mm *mm, uaddr_t a, uint32_t *ret);
NODISCARD int user_cmpxchg32(struct mm *mm, uaddr_t a, uint32_t *expected, uint32_t desired,
                             bool *ret_done);

/* Identity of a futex word: the same key for the same memory, whichever address space. Private:
 * (mm, address). Holds no reference. */
struct futex_key {
    uint64_t object, offset;
};
int mm_futex_key(struct mm *mm, uaddr_t a, bool shared, struct futex_key *ret);

/* --- uio: the data of one read or write, guest or kernel memory, gathered --- */

#define UIO_INLINE 8
struct uio {
    struct mm *mm;     /* NULL: iov are kernel addresses */
    struct iovec *iov; /* iov_base is a guest address when mm is set */
    struct iovec inline_iov[UIO_INLINE];
    unsigned count, index;               /* segments, current */
    size_t seg_done;                     /* bytes done in the current segment */
    size_t left;                         /* bytes still to do */
    size_t since_turn;                   /* bytes since others had their turn */
    struct fwindow *windows[UIO_INLINE]; /* mm's: pinned by uio_pin */
    unsigned pinned_windows;
    bool pinned;
};
/* One segment. Length over INT_MAX & PAGE_MASK is cut to it, as Linux does. -EFAULT if the range
 * is not an address range of a guest. */
int uio_init_user(struct uio *u, struct mm *mm, uaddr_t base, size_t len);
/* From a guest iovec array; -EINVAL (count > 1024, negative or overflowing length), -EFAULT,
 * -ENOMEM */
int uio_init_iovec(struct uio *u, struct mm *mm, uaddr_t iov, uint64_t count);
void uio_init_kernel(struct uio *u, void *base, size_t len);
void uio_fini(struct uio *u);
/* Move bytes and advance. Returns bytes moved (> 0), less than n only at the end of the uio or at a
 * fault; -EFAULT when nothing could be moved. Of much they let others have their turns. uio_to: into the caller's memory; uio_from: out of
 * it. */
ssize_t uio_copy_to_user(struct uio *u, const void *src, size_t n);
ssize_t uio_copy_from_user(struct uio *u, void *dst, size_t n);
ssize_t uio_zero_user(struct uio *u, size_t n);
/* The next @n bytes are about to be written piece by piece: back them all at once. A hint. */
void uio_expect(struct uio *u, size_t n);
/* Host addresses of the next bytes, resolved as a copy would and (write = true) writable, for direct host I/O:
 * fills up to max iovecs covering at most n bytes, returns how many, or -EFAULT. Valid until the
 * caller parks or unpins; pinned: the ranges are not given away until uio_unpin. */
int uio_pin(struct uio *u, bool write, size_t n, struct iovec *ret_iov, int max);
void uio_unpin(struct uio *u);
void uio_advance(struct uio *u, size_t n);
void uio_rewind(struct uio *u); /* to the start */

/* --- reports --- */

struct mm_stats {
    uint64_t vsize, rss, rss_file, data, stack, text, peak_rss, locked; /* bytes */
    uint64_t minflt, majflt;
};
void mm_stats_get(struct mm *mm, struct mm_stats *ret);

/* One line of /proc/PID/maps. */
struct mm_region {
    uint64_t start, end, offset, dev, ino;
    uint32_t prot, flags; /* PROT_*, MAP_SHARED or MAP_PRIVATE */
    char name[256];
    uint64_t rss;
};
/* First region with end > addr. false when none. May park. */
bool mm_region_next(struct mm *mm, uint64_t addr, struct mm_region *ret);

#endif
