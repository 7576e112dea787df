/* SPDX-License-Identifier: Apache-2.0
 * install.c - a site's trampoline, and the jump to it.
 *
 * A trampoline is one slot (mm_text_slot): it repeats the instruction that gave way to the jump,
 * loads the address behind the site's syscall instruction into rcx and jumps to the platform's
 * posting code, which goes on there. It pushes nothing (a leaf function's red zone) and writes no
 * flags. In its tail stand the site's addresses, for whoever finds a thread in it: nothing has been
 * posted yet there, so the thread can be set back to the site.
 *
 * A site that always makes one call which the guest can answer itself jumps to the platform's code
 * for that call instead.
 *
 * A trampoline read back is the guest's word; it decides where that guest's own thread goes on.
 *
 * Two threads that change one site at the same time both succeed: either jump is good.
 */
#include <errno.h>
#include <string.h>

#include <mm/mm.h>
#include <patch/patch.h>

#define SLOT_START 40 /* in a slot: site's start, end, length of the moved instruction */
#define SLOT_END 48
#define SLOT_MOVED 56

#define MOV_IMM_EAX 0xb8

struct trampoline {
    const struct patch_site *site;
    uint64_t end, post;
};

static void trampoline_fill(uint64_t addr, uint8_t b[MM_TEXT_SLOT], void *arg)
{
    static const uint8_t lea_rcx[] = {0x48, 0x8d, 0x0d};
    static const uint8_t mov_r11[] = {0x49, 0xbb};
    static const uint8_t jmp_r11[] = {0x41, 0xff, 0xe3};
    const struct trampoline *t = arg;
    const uint64_t start = t->end - 2 - t->site->moved_len;
    size_t n = t->site->moved_len;

    memcpy(b, t->site->moved, n);
    memcpy(b + n, lea_rcx, sizeof lea_rcx);
    n += sizeof lea_rcx;
    uint32_t rel = (uint32_t)(t->end - (addr + n + 4));
    memcpy(b + n, &rel, sizeof rel);
    n += sizeof rel;
    memcpy(b + n, mov_r11, sizeof mov_r11);
    n += sizeof mov_r11;
    memcpy(b + n, &t->post, sizeof t->post);
    n += sizeof t->post;
    memcpy(b + n, jmp_r11, sizeof jmp_r11);
    memcpy(b + SLOT_START, &start, sizeof start);
    memcpy(b + SLOT_END, &t->end, sizeof t->end);
    b[SLOT_MOVED] = t->site->moved_len;
}

static unsigned edits_make(const uint8_t *code, const struct patch_site *site, uint64_t end,
                           uint64_t slot, struct mm_text_edit e[2])
{
    const uint8_t *p = code + PATCH_BEFORE;
    const int from = -2 - (int)site->moved_len;
    unsigned n = 0;

    if (site->pad) {
        e[n] = (struct mm_text_edit){.addr = end + (uint64_t)(int64_t)site->pad, .len = PATCH_JUMP};
        memcpy(e[n].was, p + site->pad, PATCH_JUMP);
        patch_jump_write(e[n].bytes, e[n].addr, slot);
        n++;
        e[n] = (struct mm_text_edit){.addr = end + (uint64_t)(int64_t)from, .len = 2};
        e[n].bytes[0] = 0xeb;
        e[n].bytes[1] = (uint8_t)(site->pad - (from + 2));
    } else {
        e[n] = (struct mm_text_edit){.addr = end + (uint64_t)(int64_t)from, .len = PATCH_JUMP};
        patch_jump_write(e[n].bytes, e[n].addr, slot);
    }
    memcpy(e[n].was, p + from, e[n].len);
    return n + 1;
}

int patch_install(struct mm *mm, uint64_t end, const struct patch_call *c, uint64_t post,
                  uint64_t local)
{
    uint8_t code[PATCH_BEFORE + PATCH_BEHIND];
    struct mm_text_edit e[2];
    struct patch_site site;
    uint64_t slot;

    int r = copy_in(mm, code, UADDR(end - PATCH_BEFORE), sizeof code);
    if (r < 0)
        return r;
    if (!patch_decode(code, end, c, &site))
        return -ENOEXEC;
    bool one_call = site.moved_len == 5 && site.moved[0] == MOV_IMM_EAX; /* c->nr, always */
    struct trampoline t = {.site = &site, .end = end, .post = one_call && local ? local : post};
    r = mm_text_editable(mm, end - 2 - site.moved_len);
    if (r == 0)
        r = mm_text_slot(mm, end, trampoline_fill, &t, &slot);
    if (r < 0)
        return r;
    unsigned n = edits_make(code, &site, end, slot, e);
    return mm_text_edit(mm, e, n);
}

bool patch_translate(struct mm *mm, uint64_t rip, uint64_t *ret)
{
    uint8_t b[MM_TEXT_SLOT];
    uint64_t slot, start, end;

    if (!mm_text_slot_at(mm, rip, &slot, b))
        return false;
    memcpy(&start, b + SLOT_START, sizeof start);
    memcpy(&end, b + SLOT_END, sizeof end);
    *ret = rip - slot < b[SLOT_MOVED] ? start : end - 2;
    return true;
}
