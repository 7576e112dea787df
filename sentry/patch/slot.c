/* SPDX-License-Identifier: Apache-2.0
 * slot.c - what stands in a site's slot, and the names of things.
 *
 * A slot repeats the instructions that gave way to the jump, loads the address behind the site's
 * syscall instruction into rcx and jumps to the platform's posting code, which goes on there. It
 * pushes nothing (a leaf function's red zone) and writes no flags and no register but rcx and r11,
 * which the syscall instruction writes too. Everything in it is relative to rip, so it is good
 * wherever text and slots are mapped at their distance; only the posting code has one address in all
 * address spaces.
 */
#include <string.h>

#include <base/compiler.h>
#include <patch/patch.h>

#define MOV_IMM_EAX 0xb8

static uint64_t g_post;
static uint64_t (*g_local)(uint32_t nr);

/* A site that always makes one call which the guest can answer itself goes to the code for that. */
static uint64_t post_for(const struct mm_text_site *s)
{
    uint32_t nr, last = s->len - 5u;
    uint64_t local = 0;

    if (g_local && s->len >= 5 && s->steps >> last == 1 && s->moved[last] == MOV_IMM_EAX) {
        memcpy(&nr, s->moved + last + 1, sizeof nr);
        local = g_local(nr);
    }
    return local ? local : g_post;
}

void patch_slot_fill(const struct mm_text_site *s, uint64_t end, uint64_t slot,
                     uint8_t b[MM_TEXT_SLOT])
{
    static const uint8_t lea_rcx[] = {0x48, 0x8d, 0x0d};
    static const uint8_t mov_r11[] = {0x49, 0xbb};
    static const uint8_t jmp_r11[] = {0x41, 0xff, 0xe3};
    const uint64_t post = post_for(s);
    size_t n = s->len;

    memcpy(b, s->moved, n);
    if (s->disp_at) { /* the same address from another place */
        uint32_t disp;
        memcpy(&disp, b + s->disp_at, sizeof disp);
        disp += (uint32_t)(end - 2 - s->len - slot);
        memcpy(b + s->disp_at, &disp, sizeof disp);
    }
    memcpy(b + n, lea_rcx, sizeof lea_rcx);
    n += sizeof lea_rcx;
    uint32_t rel = (uint32_t)(end - (slot + n + 4));
    memcpy(b + n, &rel, sizeof rel);
    n += sizeof rel;
    memcpy(b + n, mov_r11, sizeof mov_r11);
    n += sizeof mov_r11;
    memcpy(b + n, &post, sizeof post);
    n += sizeof post;
    memcpy(b + n, jmp_r11, sizeof jmp_r11);
}

void patch_init(uint64_t post, uint64_t (*local)(uint32_t nr), uint32_t after)
{
    static const struct mm_text_ops ops = {.decode = patch_decode, .slot_fill = patch_slot_fill};

    g_post = post;
    g_local = local;
    mm_text_init(&ops, after);
}

static const struct {
    const char *name, *text;
} shapes[MM_TEXT_SHAPES] =
    {
        [MM_TEXT_IMM] = {"immediate", "a register set to a number"},
        [MM_TEXT_ONE] = {"one", "another instruction"},
        [MM_TEXT_MORE] = {"several", "several instructions"},
        [MM_TEXT_PAD] = {"padding", "by way of padding"},
},
  reasons[MM_TEXT_REASONS] = {
      [MM_TEXT_NEW] = {"new", "site not changed yet"},
      [MM_TEXT_CALL] = {"call", "call only comes by trap"},
      [MM_TEXT_SHAPE] = {"shape", "code not understood"},
      [MM_TEXT_ROOM] = {"room", "no room for a jump"},
      [MM_TEXT_TARGET] = {"target", "perhaps entered half-way"},
      [MM_TEXT_OWN] = {"own", "not a file's text"},
      [MM_TEXT_WRITABLE] = {"writable", "text can be written to"},
      [MM_TEXT_REACH] = {"reach", "no room in a jump's reach"},
      [MM_TEXT_FULL] = {"full", "a limit"},
      [MM_TEXT_LIVE] = {"live", "waits for the next image"},
      [MM_TEXT_PROCESS] = {"process", "process steps, or has its own GS base"},
      [MM_TEXT_SLOW] = {"slow", "changed, sent back to the trap"},
};

const char *patch_shape_name(enum mm_text_shape shape)
{
    return shapes[shape].name;
}

const char *patch_shape_text(enum mm_text_shape shape)
{
    return shapes[shape].text;
}

const char *patch_reason_name(enum mm_text_reason reason)
{
    return reasons[reason].name;
}

const char *patch_reason_text(enum mm_text_reason reason)
{
    return reasons[reason].text;
}
