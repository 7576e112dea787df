/* SPDX-License-Identifier: Apache-2.0
 * patch.h - call sites that post their calls instead of trapping: which code can be changed so, and
 * what stands in its slot. When and where it is changed: mm/text.h.
 */
#ifndef PATCH_PATCH_H
#define PATCH_PATCH_H

#include <mm/text.h>

/**
 * patch_init - once, before the first address space. Without it nothing is changed.
 * @post: the platform's post_addr
 * @local: the platform's local_addr, or NULL
 * @after: see mm_text_init()
 */
void patch_init(uint64_t post, uint64_t (*local)(uint32_t nr), uint32_t after);

/* For --stats: one word, and what it means. */
const char *patch_shape_name(enum mm_text_shape shape);
const char *patch_shape_text(enum mm_text_shape shape);
const char *patch_reason_name(enum mm_text_reason reason);
const char *patch_reason_text(enum mm_text_reason reason);

/* The functions that mm calls: here for the tests. */
int patch_decode(const struct mm_text_code *code, const struct mm_text_call *call,
                 struct mm_text_site *ret);
void patch_slot_fill(const struct mm_text_site *s, uint64_t end, uint64_t slot,
                     uint8_t b[MM_TEXT_SLOT]);

#endif
