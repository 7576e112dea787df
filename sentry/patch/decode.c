/* SPDX-License-Identifier: Apache-2.0
 * decode.c - which call sites can be changed.
 *
 * The syscall instruction always stays. What changes is the instruction before it, and nobody can
 * tell: a thread that has executed it makes the call by trap, and so does code that jumps straight
 * to the syscall instruction. The instruction before must be one of a few that mean the same
 * anywhere:
 *
 *      b8 imm32            mov $nr,%eax          replaced by a jump of 5 bytes
 *      bx imm32            mov $imm,%edi ...     the same; 41 bx imm32 for r8, r9, r10
 *      4x 8b xx 24 disp8   mov n(%rsp),%reg64    the same: the C library's syscall()
 *      31 c0, 33 c0        xor %eax,%eax         by a jump of 2 bytes to padding in reach
 *      89 /r               mov %reg,%eax         the same
 *      8b xx 24 disp8      mov n(%rsp),%reg32    the same
 *      44 89 c0            mov %r8d,%eax         the same
 *
 * Code is read backwards here, so the bytes could be the tail of a longer instruction. Against that
 * stand the prefix before them and, where the instruction sets a register, what the site has just
 * called with.
 *
 * Padding counts as dead where it follows "cmp $-4096,%rax; ja; ret", the end of a call in the C
 * library, and consists of the no-operations with which assemblers align, up to a multiple of 16.
 *
 * The bytes are the guest's: any content is possible, none leads outside the window.
 */
#include <string.h>

#include <patch/patch.h>

#define TAIL_SIZE 9 /* cmp $imm32,%rax; ja rel8; ret */
#define ALIGNMENT 16
#define REACH_BACK (-128)
#define REACH_ON 127

static bool is_rex(uint8_t b)
{
    return (b & 0xf0) == 0x40;
}

static bool has_rex_b(uint8_t b)
{
    return is_rex(b) && (b & 1);
}

/* Length of an aligning no-operation at @p, at most @n bytes; 0: none. */
static unsigned nop_length(const uint8_t *p, unsigned n)
{
    unsigned i = 0;

    if (p[0] == 0xcc)
        return 1;
    while (i < n && p[i] == 0x66)
        i++;
    if (i < n && p[i] == 0x2e)
        i++;
    if (i < n && p[i] == 0x90)
        return i + 1;
    if (i + 2 >= n || p[i] != 0x0f || p[i + 1] != 0x1f)
        return 0;
    switch (p[i + 2]) {
    case 0x00:
        i += 3;
        break;
    case 0x40:
        i += 4;
        break;
    case 0x44:
        i += 5;
        break;
    case 0x80:
        i += 7;
        break;
    case 0x84:
        i += 8;
        break;
    default:
        return 0;
    }
    return i <= n ? i : 0;
}

static bool is_tail(const uint8_t *p)
{
    return p[0] == 0x48 && p[1] == 0x3d && (p[2] == 0x00 || p[2] == 0x01) && p[3] == 0xf0 &&
           p[4] == 0xff && p[5] == 0xff && (p[6] == 0x77 || p[6] == 0x73) && p[8] == 0xc3;
}

/* Free bytes for a jump in the padding [at, at + n); -1: none. Another site may have the first. */
static int pad_room(const uint8_t *at, unsigned n)
{
    if (n < PATCH_JUMP)
        return -1;
    if (at[0] == 0xe9)
        return n >= 2 * PATCH_JUMP && at[PATCH_JUMP] != 0xe9 ? (int)PATCH_JUMP : -1;
    for (unsigned i = 0; i < n;) {
        unsigned len = nop_length(at + i, n - i);

        if (!len)
            return -1;
        i += len;
    }
    return 0;
}

/* Distance of a pad from the end of the site, in reach of a short jump at @from (also a distance);
 * 0: none. */
static int pad_find(const uint8_t *code, uint64_t end, int from)
{
    const int size = PATCH_BEFORE + PATCH_BEHIND;

    for (int i = 0; i + TAIL_SIZE < size; i++) {
        if (!is_tail(code + i))
            continue;
        int at = i + TAIL_SIZE - (int)PATCH_BEFORE; /* distance from the end */
        uint64_t addr = end + (uint64_t)(int64_t)at;
        unsigned n = (unsigned)(-addr % ALIGNMENT);
        if (i + TAIL_SIZE + (int)n > size)
            continue;
        int room = pad_room(code + i + TAIL_SIZE, n);
        if (room < 0)
            continue;
        at += room;
        int jump = at - (from + 2);
        if (jump >= REACH_BACK && jump <= REACH_ON)
            return at;
    }
    return 0;
}

/* mov $imm32,%reg, 5 bytes or 6: the register still holds it, unless the bytes mean something else.
 * Returns the length, 0: it is none. */
static unsigned mov_imm_length(const uint8_t *end, const struct patch_call *c)
{
    const uint8_t *p = end - 2 - 5;
    const bool upper = has_rex_b(p[-1]);
    uint32_t imm;
    uint64_t value;

    memcpy(&imm, p + 1, sizeof imm);
    switch (p[0]) {
    case 0xb8:
        value = upper ? c->args[4] : c->nr;
        break;
    case 0xb9:
        value = c->args[5];
        break;
    case 0xba:
        value = upper ? c->args[3] : c->args[2];
        break;
    case 0xbe:
        value = c->args[1];
        break;
    case 0xbf:
        value = c->args[0];
        break;
    default:
        return 0;
    }
    if (imm != value)
        return 0;
    if (!upper) /* rcx is the call's to change, so it is none to set */
        return p[0] == 0xb9 ? 0 : 5;
    /* the prefix, or the tail of another instruction: then the register must be a lower one */
    return p[-1] == 0x41 && p[0] <= 0xba ? 6 : 0;
}

static bool long_form(const uint8_t *end, const struct patch_call *c, struct patch_site *ret)
{
    const uint8_t *load = end - 2 - 5; /* mov disp8(%rsp),%reg64 */

    ret->moved_len = (uint8_t)mov_imm_length(end, c);
    if (!ret->moved_len && (load[0] & 0xfb) == 0x48 && load[1] == 0x8b &&
        (load[2] & 0xc7) == 0x44 && load[3] == 0x24)
        ret->moved_len = 5;
    memcpy(ret->moved, end - 2 - ret->moved_len, ret->moved_len);
    ret->pad = 0;
    return ret->moved_len != 0;
}

static bool short_form(const uint8_t *end, const struct patch_call *c, struct patch_site *ret)
{
    const uint8_t *p = end - 2 - 2;

    if ((p[0] == 0x31 || p[0] == 0x33) && p[1] == 0xc0 && c->nr == 0 && !is_rex(p[-1]))
        ret->moved_len = 2;
    else if (p[0] == 0x89 && p[1] == 0xc0 && p[-1] == 0x44)
        ret->moved_len = 3; /* mov %r8d,%eax: without the prefix it would be of no use */
    else if (p[0] == 0x89 && (p[1] & 0xc7) == 0xc0 && !is_rex(p[-1]))
        ret->moved_len = 2;
    else if (p[-2] == 0x8b && (p[-1] & 0xc7) == 0x44 && p[0] == 0x24 && !is_rex(p[-3]))
        ret->moved_len = 4;
    else
        return false;
    memcpy(ret->moved, end - 2 - ret->moved_len, ret->moved_len);
    return true;
}

bool patch_decode(const uint8_t code[PATCH_BEFORE + PATCH_BEHIND], uint64_t end,
                  const struct patch_call *c, struct patch_site *ret)
{
    const uint8_t *p = code + PATCH_BEFORE;

    if (p[-2] != 0x0f || p[-1] != 0x05)
        return false;
    if (long_form(p, c, ret))
        return true;
    if (!short_form(p, c, ret))
        return false;
    ret->pad = (int16_t)pad_find(code, end, -2 - (int)ret->moved_len);
    return ret->pad != 0;
}

void patch_jump_write(uint8_t at[PATCH_JUMP], uint64_t pc, uint64_t to)
{
    uint32_t rel = (uint32_t)(to - (pc + PATCH_JUMP));

    at[0] = 0xe9;
    memcpy(at + 1, &rel, sizeof rel);
}
