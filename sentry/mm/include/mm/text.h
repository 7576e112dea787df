/* SPDX-License-Identifier: Apache-2.0
 * text.h - program text whose call sites the Sentry has changed: images of a file's text, shared by
 * all address spaces that map it, and what is known of the sites in it.
 *
 * mm keeps files, images and sites (text.c, textcache.c); what a site looks like and what stands in
 * its slot is the layer's above (sentry/patch), which registers struct mm_text_ops.
 */
#ifndef MM_TEXT_H
#define MM_TEXT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mm;

#define MM_TEXT_SLOT 64u    /* bytes of a slot */
#define MM_TEXT_MOVED 24u   /* most bytes of a site that move to its slot */
#define MM_TEXT_JUMP 5u     /* jmp rel32 */
#define MM_TEXT_BEFORE 512u /* bytes around a site's end that are looked at */
#define MM_TEXT_BEHIND 256u

/* Why a call traps. */
enum mm_text_reason {
    MM_TEXT_NEW,    /* its site has not been changed yet */
    MM_TEXT_CALL,   /* a call that has to be made by trap */
    MM_TEXT_SHAPE,  /* code around it not understood */
    MM_TEXT_ROOM,   /* no room for a jump */
    MM_TEXT_TARGET, /* something may jump into what would be overwritten */
    MM_TEXT_OWN,    /* not, or no longer, text of a file: written to, anonymous, shared */
    MM_TEXT_WRITABLE,
    MM_TEXT_REACH,   /* nothing free within a jump's reach */
    MM_TEXT_FULL,    /* of slots, sites, images or files: a limit */
    MM_TEXT_LIVE,    /* not by one store, so only in the next image of the file */
    MM_TEXT_PROCESS, /* the process has a GS base of its own, or steps */
    MM_TEXT_SLOW,    /* changed; the posted call was sent back to its trap, or jumped to */
    MM_TEXT_REASONS,
};

enum mm_text_shape {
    MM_TEXT_IMM,  /* one instruction that sets a register to a number */
    MM_TEXT_ONE,  /* another single instruction of 5 bytes or more */
    MM_TEXT_MORE, /* several */
    MM_TEXT_PAD,  /* a jump of 2 bytes to padding that holds the jump of 5 */
    MM_TEXT_SHAPES,
};

/* A site that can be changed. Its end is the address behind the syscall instruction, which stays. */
struct mm_text_site {
    uint8_t moved[MM_TEXT_MOVED]; /* the instructions before the syscall that give way */
    uint8_t len;
    uint8_t shape;
    uint8_t disp_at; /* where in moved a displacement from rip stands, 0: nowhere */
    uint8_t alone;   /* so many bytes at the end would do, too, though by no one store; 0: no */
    uint32_t steps;  /* bit n: an instruction begins n bytes into moved */
    int16_t pad;     /* MM_TEXT_PAD: distance of the padding from the end */
    uint8_t pad_len;
};

/* Bytes around a site as its file has them. */
struct mm_text_code {
    const uint8_t *bytes;    /* MM_TEXT_BEFORE before the end, MM_TEXT_BEHIND behind */
    unsigned before, behind; /* how many of these are the segment's */
    uint64_t end;            /* file offset of the end */
};

struct mm_text_call { /* what it has called with */
    uint32_t nr;
    uint64_t args[6];
};

struct mm_text_ops {
    /* 0 and *ret, or the mm_text_reason */
    int (*decode)(const struct mm_text_code *code, const struct mm_text_call *call,
                  struct mm_text_site *ret);
    /* Contents of the slot at @slot for the site that ends at @end, both relative to one base. */
    void (*slot_fill)(const struct mm_text_site *s, uint64_t end, uint64_t slot,
                      uint8_t b[MM_TEXT_SLOT]);
};
/* Once, before the first address space. NULL: nothing is ever changed. @after: traps of one address
 * space in a file's text until it changes over to an image (0: by size). */
void mm_text_init(const struct mm_text_ops *ops, uint32_t after);

/**
 * mm_text_trapped - a thread has trapped at the site that ends at @end: learn it, change it.
 * Return: why it was not changed before (mm_text_reason). *ret_final: nor ever will it be here.
 * Context: may park.
 */
int mm_text_trapped(struct mm *mm, uint64_t end, const struct mm_text_call *call, bool *ret_final);

/**
 * mm_text_site_of - @rip is in a slot, or in padding on the way there: where it would be in the text as the file has it. *ret_between:
 * that is inside what the jump has overwritten, so no thread can go on there.
 * mm_text_slot_of - @rip is inside what a jump has overwritten: the same place in the slot.
 * false: it is not. Context: may park.
 */
bool mm_text_site_of(struct mm *mm, uint64_t rip, uint64_t *ret, bool *ret_between);
bool mm_text_slot_of(struct mm *mm, uint64_t rip, uint64_t *ret);

/* From now on all text of @mm, and of what forks from it, is as its files have it: the guest has a GS
 * base of its own, or steps through its code. May park. */
void mm_text_forbid(struct mm *mm);

/* Of the whole sandbox; approximate while it runs. */
struct mm_text_counters {
    _Atomic(uint64_t) sites[MM_TEXT_SHAPES];    /* changed, counted in each image */
    _Atomic(uint64_t) refused[MM_TEXT_REASONS]; /* sites, once each */
    _Atomic(uint64_t) traps[MM_TEXT_REASONS];
    _Atomic(uint64_t) images, image_bytes; /* made */
    _Atomic(uint64_t) dropped;             /* given up for the limit */
    _Atomic(uint64_t) mapped;              /* mappings of text that came from an image at once */
    _Atomic(uint64_t) mapped_sites;        /* changed sites in these */
    _Atomic(uint64_t) switched;            /* running processes that changed over to an image */
};
extern struct mm_text_counters mm_text_counters;

#endif
