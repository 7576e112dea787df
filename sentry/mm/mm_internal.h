/* SPDX-License-Identifier: Apache-2.0
 * mm_internal.h - what the files of sentry/mm share.
 *
 * Two trees per address space. `vmas`: what the guest asked for. `segs`: which bytes back which
 * addresses, and what the host process has mapped of it. A seg may span VMAs; a VMA may have holes
 * without segs (never touched). Segs outside any VMA exist only unmapped (reserved heap growth).
 */
#ifndef MM_INTERNAL_H
#define MM_INTERNAL_H

#include <sys/mman.h>

#include <base/err.h>
#include <base/list.h>
#include <base/lock.h>
#include <base/refcount.h>
#include <host/memfile.h>
#include <mm/mm.h>

#include "rtree.h"

#define HUGE_SIZE (2ULL << 20)
#define WINDOW_FIRST (256ULL << 10) /* mapped and populated at mmap and brk */
#define WINDOW_MIN (64ULL << 10)
#define WINDOW_MAX HUGE_SIZE
#define WINDOW_NEAR (16ULL << 10) /* a touch so close behind a run continues it */
#define WINDOW_TRIM (20ULL << 10) /* windows are so much shorter than a power of two */
#define WINDOW_LONG (4ULL << 20)  /* in runs of 32 MiB and more */
#define ISLANDS_MAX 16u
#define DENSE_MIN (512ULL << 10)         /* reads and copies this long take 2 MiB pages */
#define LAZY_MIN (1ULL << 20)            /* mappings this long get nothing at mmap */
#define POPULATE_PIECE (16ULL << 20)     /* one list; others get the poller in between */
#define POPULATE_HINT_MAX (256ULL << 20) /* MAP_POPULATE, mlock: beyond it by windows */
#define FILE_WINDOW (256ULL << 10)
#define SMALL_COPY (128ULL << 10)      /* private writable file mappings copied at mmap */
#define RESERVE_SMALL (1ULL << 30)     /* up to this a mapping gets its file range at once */
#define RESERVE_CHUNK (64ULL << 20)    /* else pieces of this size, at first touch */
#define RESERVE_AHEAD (64ULL << 20)    /* file range kept for a growing heap */
#define RESERVED_MAX (64ULL << 30)     /* reserved and untouched beyond this: pieces of 2 MiB */
#define SELF_UNMAP_MAX (2ULL << 20)    /* larger ones go through the mapper and are freed at once */
#define PENDING_MAX_BYTES (8ULL << 20) /* memory that may wait for the next list */
#define PENDING_MAX 64u
#define STACK_GUARD (256 * PAGE_SIZE)
#define HOST_MAPS_MAX 65530u /* vm.max_map_count */
#define MM_VMAS_MAX 65530u   /* as Linux' default max_map_count; tests at limit and limit + 1 */
#define MM_VSIZE_MAX (128ULL << 40) /* bytes of VMAs of one address space: TSan needs 120 TiB */
#define HOT_PAGES 128u
#define HOT_VMAS 64u
#define HOT_RUN_MAX (32ULL << 10) /* longer runs of writes are no hot pages */
#define NO_OFF UINT64_MAX

/* Flags of a VMA. */
#define VMA_SHARED 1u
#define VMA_MAYWRITE 2u /* a shared mapping may get PROT_WRITE */
#define VMA_GROWSDOWN 4u
#define VMA_NORESERVE 8u
#define VMA_LOCKED 16u
#define VMA_DONTFORK 32u
#define VMA_WIPEONFORK 64u
#define VMA_NOHUGE 128u
#define VMA_HUGE 256u
#define VMA_STACK_HINT 512u /* MAP_STACK: touched from the top */
#define VMA_HEAP 1024u
#define VMA_HIDDEN 2048u /* slots beside text (text.c): not the guest's, told to nobody */
#define VMA_MERGE_MASK (~0u)

/* One mapped file in one address space: donated descriptors, link for truncation. */
struct mm_file {
    struct list_head link;      /* mm->files, or mm->dead_files */
    struct list_head rmap_link; /* mappable->maps; rmap lock */
    struct mm *mm;
    struct mappable *m;   /* reference */
    uint64_t vmas;        /* how many VMAs use it */
    uint64_t visited;     /* rmap lock: last truncation that has seen it */
    int slot_ro, slot_rw; /* fd_donate slots, -1 none */
    bool no_fd;           /* the mappable has no descriptor to give */
    bool no_rw;
    struct text_file *text; /* what is known of its content (text.c); reference */
    bool no_text;           /* its content can change unseen */
    bool text_failed;       /* no image can be mapped here */
    uint32_t text_traps;    /* at sites of it, without an image */
};

struct vma {
    struct rnode r;
    uint32_t prot, flags;
    struct mm_file *file; /* NULL: private anonymous */
    uint64_t off;         /* file offset of r.start */
    const char *name;
    uint64_t cow_next, cow_size; /* end and size of the last block copied on write */
    uint32_t cow_breaks;         /* blocks since the last fork that were near no other */
    uint32_t islands; /* windows that touched no other, less those that did: scattered access */
};

enum seg_kind {
    SEG_MEM,  /* our range of the memory file, counted in memref.c */
    SEG_FD,   /* file, mapped from a donated descriptor */
    SEG_PAGE, /* file, pages of the memory file that belong to the mappable */
};

struct seg {
    struct rnode r;
    uint8_t kind;
    int8_t hprot; /* rights mapped in the host process, -1: not mapped; with HPROT_LOOSE these at
                     most: the guest was told to give up writing itself */
    bool fresh;   /* MEM: never touched by anybody; a fork need not share it */
    bool cow; /* not writable in place: MEM, FD: copy first; shared PAGE: ask for writing first */
    uint64_t off;         /* memory-file offset of r.start (MEM, PAGE) or file offset (FD) */
    uint64_t shadow;      /* where copies of a cow seg go, equal layout; NO_OFF: not reserved yet */
    struct mm_file *file; /* FD, PAGE: the VMA's */
};

#define HPROT_LOOSE 64 /* equal to no rights that can be wanted: the next change sets them */

struct dying_range {
    uint64_t off, len;
};
struct pending_unmap {
    uint64_t addr, len;
};

struct text_file;
struct text_map;

struct fwindow;
struct tcache { /* one translation: addresses [start, end) are at ptr */
    uint64_t start, end;
    uint8_t *ptr;
    bool writable;
    struct fwindow *win; /* pinned, or NULL */
};
#define TCACHE_SIZE 4
#define SPARE_VMAS 6
#define SPARE_SEGS 12

struct mm {
    struct refcount ref;
    uint64_t id;        /* odd, never reused: private futex keys */
    struct fmutex lock; /* RANK_MM; below it everything but ref, id */
    struct pf_as *as;   /* a pointer its threads keep valid, also when destroyed */
    bool destroyed;     /* as_destroy has run */
    bool dead;          /* the host process is gone */
    bool lazy_done;     /* mm_lock_change has run lazy operations */
    bool deferring;     /* no thread yet: operations are collected until mm_as() */
    struct rtree vmas, segs;
    struct list_head files, dead_files;

    struct pf_memop *ops; /* the list being built */
    size_t op_count, op_cap;
    struct dying_range *dying; /* file ranges to give up after the next list */
    size_t dying_count, dying_cap;
    struct pending_unmap pending[PENDING_MAX]; /* unmapped by the guest itself, or about to be */
    unsigned pending_count;
    uint64_t pending_bytes;
    unsigned pins; /* uio_pin: dying ranges wait */

    struct vma *spare_vma[SPARE_VMAS];
    struct seg *spare_seg[SPARE_SEGS];
    unsigned spare_vmas, spare_segs;
    struct tcache tc[TCACHE_SIZE];
    struct tcache tc_forced; /* never matched: keeps a window pinned during a forced access */
    unsigned tc_next;

    uint64_t vsize, data_size, locked; /* bytes of VMAs */
    uint64_t reserved;                 /* bytes of own memory-file ranges */
    uint64_t stack_limit, stack_top;
    uint64_t brk, mmap_top;
    struct mm_hot *hot;     /* NULL: nothing noted yet */
    uint64_t spurious_page; /* last fault on a page that was mapped as it should be */
    unsigned spurious_count;
    uint64_t minflt, majflt, peak_rss;
    int64_t rss_time_ns;
    uint64_t rss_cached, rss_file_cached;
    bool lock_future;
    bool counted;      /* mm_set_counted */
    bool sparse;       /* forked with no more mapped than its siblings touched */
    uint32_t barriers; /* registered membarrier commands */
    struct mm_limits limits;
    struct mm_layout layout;
    struct mm_exe_ref *exe;
    struct list_head text_maps, dead_text_maps; /* text.c */
    _Atomic(unsigned) text_map_count;           /* read without the lock as a hint */
    bool no_text;                               /* mm_text_forbid() */
};

/* Pages written soon after forks (fork.c), shared by the address spaces forked from one exec: what
 * one of them writes, its siblings and their parent write as well. */
struct mm_hot {
    struct refcount ref;
    struct spin lock; /* RANK_LEAF; below it the rest */
    unsigned next;
    uint64_t page[HOT_PAGES]; /* 0: none */
    unsigned forks;           /* HOT_FORKS at most */
    unsigned vma_count;       /* HOT_VMAS: there were more, all count as touched */
    uint64_t vma[HOT_VMAS];   /* starts of VMAs that children touched which had not got them */
};
struct mm_hot *mm_hot_get(struct mm *mm); /* a reference; NULL: no memory */
void mm_hot_put(struct mm_hot *h);
void mm_hot_note(struct mm *mm, uint64_t addr);
void mm_hot_touched(struct mm *mm, const struct vma *v); /* by a child with only what is known */

/* The executable, shared by the address spaces forked from one exec. */
struct mm_exe_ref {
    struct refcount ref;
    void *exe;
    void (*put)(void *);
};
struct mm_exe_ref *mm_exe_hold(struct mm *mm);
struct mm *mm_alloc_with_process(void);

struct mm_state {
    const struct platform_ops *ops;
    struct memfile *mf;
    struct pf_limits limits;
    bool no_advise; /* the host refused MADV_HUGEPAGE */
};
extern struct mm_state g_mm;

static inline struct vma *vma_of(struct rnode *n)
{
    return n ? container_of(n, struct vma, r) : NULL;
}
static inline struct seg *seg_of(struct rnode *n)
{
    return n ? container_of(n, struct seg, r) : NULL;
}

/* life.c. mm_lock_change: the caller will change trees; drops cached translations. mm_unlock puts
 * what could not be put under the lock. */
void mm_lock(struct mm *mm);
int mm_lock_change(struct mm *mm); /* 0 or -ENOMEM, -ESRCH (not locked then) */
int mm_lock_add(struct mm *mm);    /* the same, but lazy operations go on waiting */
void mm_unlock(struct mm *mm);
void mm_kill_locked(struct mm *mm);
void mm_gone_locked(struct mm *mm); /* the host process has died by itself */
int mm_spares_fill(struct mm *mm);

/* vma.c: all with the lock held */
struct vma *vma_find(struct mm *mm, uint64_t addr); /* first with end > addr */
struct vma *vma_at(struct mm *mm, uint64_t addr);   /* that contains addr */
struct vma *vma_next(struct vma *v);
struct vma *vma_prev(struct vma *v);
struct vma *vma_new(struct mm *mm);
void vma_insert(struct mm *mm, struct vma *v);
void vma_remove(struct mm *mm, struct vma *v);
struct vma *vma_split(struct mm *mm, struct vma *v, uint64_t at); /* returns the upper part */
struct vma *vma_merge(struct mm *mm, struct vma *v);              /* with its neighbours */
/* Make [a, b) consist of whole VMAs. -ENOMEM: VMA limit. */
int vmas_isolate(struct mm *mm, uint64_t a, uint64_t b);
/* Is every byte of [a, b) in some VMA? */
bool vmas_cover(struct mm *mm, uint64_t a, uint64_t b);
void vma_account(struct mm *mm, const struct vma *v, int sign);
uint64_t vma_file_off(const struct vma *v, uint64_t addr);
bool guest_range_valid(uint64_t addr, uint64_t len); /* inside guest address space, no overflow */
bool guest_range_readable(uint64_t addr, uint64_t len); /* the same, or inside the vDSO */
bool vma_place_free(struct mm *mm, uint64_t addr, uint64_t len);
/* Free range for a mapping; 0 or -ENOMEM. */
int vma_place(struct mm *mm, uint64_t hint, uint64_t len, uint64_t align, uint32_t flags,
              uint64_t *ret);

/* seg.c: all with the lock held */
struct seg *seg_find(struct mm *mm, uint64_t addr);
struct seg *seg_at(struct mm *mm, uint64_t addr);
struct seg *seg_next(struct seg *s);
struct seg *seg_prev(struct seg *s);
struct seg *seg_new(struct mm *mm);
void seg_insert(struct mm *mm, struct seg *s);
void seg_remove(struct mm *mm, struct seg *s);                    /* frees the node only */
struct seg *seg_split(struct mm *mm, struct seg *s, uint64_t at); /* returns the upper part */
void segs_merge(struct mm *mm, uint64_t a, uint64_t b);
/* [a, b) is no longer mapped: give up what was reserved around it to fill 2 MiB. */
void segs_trim(struct mm *mm, uint64_t a, uint64_t b);
/* Drop what backs [a, b). @dying: mapped ranges wait for the next list (else freed at once). */
void segs_drop(struct mm *mm, uint64_t a, uint64_t b);
struct seg_summary {
    bool any_mapped, any_page, all_mapped;
};
void segs_summary(struct mm *mm, uint64_t a, uint64_t b, struct seg_summary *ret);
int seg_wanted_prot(const struct vma *v, const struct seg *s); /* host rights, 0 = none */
/* Own memory-file range for the hole [a, b); the caller knows it is one. */
int seg_alloc(struct mm *mm, uint64_t a, uint64_t b, struct seg **ret);
/* The same from the pool of used memory, for a seg that is touched at once; NULL: none there. */
struct seg *seg_from_pool(struct mm *mm, uint64_t a, uint64_t b, bool zero);
/* Give the private anonymous hole around @addr a range of the memory file. */
int seg_reserve(struct mm *mm, struct vma *v, uint64_t addr, struct seg **ret);

/* ops.c: the list for the host process */
void ops_map(struct mm *mm, const struct seg *s, uint64_t a, uint64_t b, int prot, bool populate);
void ops_add(struct mm *mm, uint32_t op, uint64_t addr, uint64_t len, int prot, uint64_t off);
int ops_run(struct mm *mm);
int ops_force(struct mm *mm); /* also while deferring */
/* Is nothing of [a, b) mapped by the host, or only by operations that still wait? */
bool ops_all_wait(struct mm *mm, uint64_t a, uint64_t b);
void ops_dying(struct mm *mm, uint64_t off, uint64_t len);
void ops_pending(struct mm *mm, uint64_t addr, uint64_t len);
void ops_release_dying(struct mm *mm);
bool ops_may_self(const struct mm *mm, uint64_t len);

/* map.c */
/* Split @s so that it is [a, b) exactly; NULL: no memory. */
struct seg *seg_cut(struct mm *mm, struct seg *s, uint64_t a, uint64_t b);
/* Bring what the host has mapped of [a, b), inside @v, to what it should be. Holes stay holes
 * unless
 * @fill (private anonymous: reserve). */
int map_range(struct mm *mm, struct vma *v, uint64_t a, uint64_t b, bool fill, bool populate);
void unmap_range(struct mm *mm, uint64_t a, uint64_t b);
/* Map and populate the first window of a new private anonymous range [a, b) of @v. */
int map_first_window(struct mm *mm, struct vma *v, uint64_t a, uint64_t b);
/* May @len more bytes of VMAs exist? -ENOMEM: RLIMIT_AS, RLIMIT_DATA, MM_VSIZE_MAX, MM_VMAS_MAX. */
int mm_may_grow(const struct mm *mm, uint64_t len, bool data);

/* fault.c. Errors: -EFAULT with signal, -ENOMEM. */
struct fault_info {
    int signo, code;
};
bool vma_allows(const struct vma *v, uint32_t access);
struct vma *vma_fault_find(struct mm *mm, uint64_t addr); /* grows stacks; NULL */
/* A seg behind addr that may be read (and, @write, written in place). May add operations. */
int seg_ensure(struct mm *mm, struct vma *v, uint64_t addr, bool write, bool map, struct seg **ret,
               struct fault_info *fi);
/* Map @s, found behind @addr, as a fault there would. */
int map_for_fault(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr);
/* Map fresh @s for @len bytes from @addr on, which the Sentry is about to write. */
int map_for_copy(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr, uint64_t len);
/* Map and populate all of [a, b) as MAP_POPULATE, mlock do; stops at the first error. */
int populate_range(struct mm *mm, uint64_t a, uint64_t b, bool write);
bool mm_pressure(void);

/* cow.c */
/* Make @s writable in place at @addr. @map: map the copy even if @s was not mapped. */
int seg_break(struct mm *mm, struct vma *v, struct seg *s, uint64_t addr, bool map,
              struct fault_info *fi);
uint64_t cow_min_block(const struct mm *mm);

/* filemap.c */
struct mm_file *mm_file_get(struct mm *mm, struct mappable *m); /* counts one VMA */
void mm_file_hold(struct mm_file *f);
void mm_file_drop(struct mm_file *f);
int mm_file_slot(struct mm_file *f, bool write); /* slot, -ENODEV: none, -errno */
bool file_fd_known(const struct mm_file *f);     /* would that cost nothing, for reading? */
int file_backing(struct mm *mm, struct vma *v, uint64_t addr, bool write, struct seg **ret,
                 struct fault_info *fi);
int file_map_initial(struct mm *mm, struct vma *v, uint64_t a, uint64_t b);
int file_read(struct mappable *m, uint64_t off, void *dst,
              size_t len); /* zero-filled past the end */
bool file_past_end(struct mappable *m, uint64_t off);

/* text.c: text with changed call sites. All with the lock held. */
/* Map what there is of images over the new mapping [a, b) of @v; holes may remain. */
int text_map_known(struct mm *mm, struct vma *v, uint64_t a, uint64_t b);
/* The guest is about to change the mappings of [a, b): slots there go, and the changes that need
 * them; @text: changed text there becomes the file's again, too. Before anything else is changed. */
int text_yield(struct mm *mm, uint64_t a, uint64_t b, bool text);
void text_unmapped(struct mm *mm, uint64_t a, uint64_t b); /* [a, b) has been */
bool text_seg_is_image(const struct mm *mm, const struct seg *s, uint64_t addr);
int text_fork(struct mm *child, struct mm *parent);
void text_free_dead(struct list_head *maps); /* without the lock */
void text_file_forget(struct text_file *f);  /* the same */

/* rmap.c */
int rmap_add(struct mm_file *f);
void rmap_del(struct mm_file *f);

/* memref.c: owners of memory-file ranges. One owner unless shared. */
int memref_share(uint64_t off, uint64_t len);
void memref_release(uint64_t off, uint64_t len);
/* Is @off shared? *ret_run: how far (at most @max) the answer holds. */
bool memref_shared(uint64_t off, uint64_t max, uint64_t *ret_run);

/* pool.c: memory kept for reuse. pool_take: @zero, or the caller overwrites all of it. */
#define POOL_RUN_MAX (256ULL << 10)
bool pool_put(uint64_t off, uint64_t len); /* true: it is the pool's now */
bool pool_take(uint64_t len, bool zero, uint64_t *ret_off);
void pool_drain(void);

/* present.c: which parts of the memory file the Sentry has in its own page tables */
void present_want(uint64_t off, uint64_t len); /* populate what is not, in one or few host calls */
void present_forget(uint64_t off, uint64_t len);

/* fwindow.c: the Sentry's windows of files mapped from descriptors */
#define FWINDOW_SIZE (1ULL << 20)
#define FWINDOWS_MAX 256u
struct fwindow *fwindow_get(struct mappable *m, uint64_t off, bool write); /* pinned, ERR_PTR */
void fwindow_hold(struct fwindow *w);
void fwindow_put(struct fwindow *w);
uint8_t *fwindow_ptr(const struct fwindow *w, uint64_t off); /* off inside the same window */
void fwindow_forget(struct mappable *m);

/* uaccess.c */
void tcache_flush(struct mm *mm);
/* Host address of guest address @addr for @access; *ret_len (in: wanted) bytes are contiguous.
 * The lock is held and stays held while the address is used, until the next call. @ret_win: window
 * it lies in (borrowed; hold it to keep it longer) or NULL. */
int user_resolve(struct mm *mm, uint64_t addr, uint32_t access, bool force, uint8_t **ret_ptr,
                 uint64_t *ret_len, struct fwindow **ret_win);

/* Bytes moved (> 0), or an error if none; @buf NULL with @to_user: zeros. */
ssize_t user_copy_partial(struct mm *mm, uint64_t addr, void *buf, size_t n, bool to_user);

/* sigbus.c, uaccess_copy.S: copies that survive SIGBUS; return bytes not done. */
int sigbus_init(void);
uint64_t ua_copy(void *dst, const void *src, uint64_t n);
uint64_t ua_zero(void *dst, uint64_t n);
uint64_t ua_load32(const void *src, uint32_t *ret);
uint64_t ua_cmpxchg32(void *p, uint32_t *expected, uint32_t desired, uint32_t *ret_done);

/* shm.c: memory of MAP_SHARED | MAP_ANONYMOUS */
int shm_remove(struct mappable *m, uint64_t off, uint64_t len); /* -EOPNOTSUPP: other files */

#endif
