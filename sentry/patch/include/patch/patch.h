/* SPDX-License-Identifier: Apache-2.0
 * patch.h - call sites that post their calls instead of trapping: which code can be changed so, and
 * the change itself.
 */
#ifndef PATCH_PATCH_H
#define PATCH_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mm;

/* Bytes around a site that the decision looks at, before and behind its end. */
#define PATCH_BEFORE 128u
#define PATCH_BEHIND 128u

/* What it has called with just now. */
struct patch_call {
    uint32_t nr;
    uint64_t args[6];
};

/* How a site can be changed. Its end is the address behind the syscall instruction, which stays. */
struct patch_site {
    uint8_t moved[8]; /* the instruction before the syscall, repeated by the trampoline */
    uint8_t moved_len;
    int16_t pad; /* 0: a jump of 5 bytes takes its place; else one of 2 bytes, to dead padding at
                    this distance from the end, which holds the jump of 5 */
};

/**
 * patch_decode - recognise the code around a site.
 * @code: PATCH_BEFORE bytes before and PATCH_BEHIND bytes behind the site's end
 * @end: guest address of its end
 */
bool patch_decode(const uint8_t code[PATCH_BEFORE + PATCH_BEHIND], uint64_t end,
                  const struct patch_call *c, struct patch_site *ret);

/* Bytes of the code that goes where @pc is: a jump to @to. */
#define PATCH_JUMP 5u
void patch_jump_write(uint8_t at[PATCH_JUMP], uint64_t pc, uint64_t to);

/**
 * patch_install - change the site that ends at @end. May park.
 * @post: the platform's post_addr
 * @local: the platform's local_addr for c->nr; 0: none. Taken where the site always makes that call
 * 0; -ENOEXEC: code not recognised; other errors: not possible here or now (memory, rights).
 */
int patch_install(struct mm *mm, uint64_t end, const struct patch_call *c, uint64_t post,
                  uint64_t local);

/**
 * patch_translate - the address in the original code that corresponds to @rip in a trampoline.
 * false: @rip is in none. May park.
 */
bool patch_translate(struct mm *mm, uint64_t rip, uint64_t *ret);

#endif
