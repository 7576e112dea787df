/* SPDX-License-Identifier: Apache-2.0
 * decode.c - which call sites can be changed.
 *
 * The syscall instruction always stays. What changes are instructions before it, and nobody can
 * tell: a thread that has executed them makes the call by trap, and so does code that jumps straight
 * to the syscall instruction. They are repeated elsewhere, so they must mean the same there, and
 * nothing may lead between them.
 *
 *  - One instruction of 5 bytes or more gives way to a jump of 5.
 *  - Several do that together have at least 5.
 *  - One of 2 bytes or more gives way to a jump of 2, to dead padding in its reach that holds the
 *    jump of 5. Padding counts as dead where it follows a return instruction and consists of what
 *    assemblers align with, up to a multiple of 16.
 *
 * Where instructions begin. Code cannot be read backwards, but any 15 bytes in a row have a
 * beginning among them, so one of the 15 decodings that start there is the true one. Decodings from
 * all offsets of a window ahead of the site are followed; where all that arrive at the syscall
 * instruction agree, the true one does. Exception: "mov $imm32,%reg" whose register still holds the
 * number: that needs no proof by what is before it.
 *
 * What may lead between them. Direct jumps from nearby (rel8) are looked for here, at every offset
 * where a decoding finds one; those with 32 bits by the cache, in the whole text. A jump through a
 * table nearby makes the site one that is not changed.
 *
 * The bytes are the guest's: any content is possible, none leads outside the window.
 */
#include <string.h>

#include <Zydis/Zydis.h>

#include <base/compiler.h>
#include <patch/patch.h>

#define WINDOW (MM_TEXT_BEFORE + MM_TEXT_BEHIND)
#define SITE (MM_TEXT_BEFORE - 2) /* the syscall instruction's place in the window */
#define STARTS_FAR 96             /* decodings start so far before it at most, */
#define STARTS_NEAR 24            /* and at least */
#define TAIL_SIZE 9               /* cmp $imm32,%rax; ja rel8; ret */
#define ALIGNMENT 16
#define TEXT_PAGE 4096u
#define PAD_MOST 15

enum insn_kind { INSN_BAD, INSN_STAYS, INSN_MOVES, INSN_JUMPS, INSN_TABLE };

struct insn {
    bool known;
    uint8_t len, kind;
    uint8_t disp_at; /* of a displacement from rip */
    int32_t jump;    /* INSN_JUMPS: relative to its end */
};

struct window {
    const struct mm_text_code *code;
    struct insn at[WINDOW];
    ZydisDecoder decoder;
};

static enum insn_kind kind_of(const ZydisDecodedInstruction *i)
{
    switch (i->meta.category) {
    case ZYDIS_CATEGORY_COND_BR:
    case ZYDIS_CATEGORY_UNCOND_BR:
        return i->raw.imm[0].is_relative ? INSN_JUMPS : INSN_TABLE;
    case ZYDIS_CATEGORY_DATAXFER:
    case ZYDIS_CATEGORY_BINARY:
    case ZYDIS_CATEGORY_LOGICAL:
    case ZYDIS_CATEGORY_SHIFT:
    case ZYDIS_CATEGORY_CMOV:
    case ZYDIS_CATEGORY_SETCC:
    case ZYDIS_CATEGORY_CONVERT:
    case ZYDIS_CATEGORY_SSE:
    case ZYDIS_CATEGORY_AVX:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_POP:
        return INSN_MOVES;
    case ZYDIS_CATEGORY_MISC:
        return i->mnemonic == ZYDIS_MNEMONIC_LEA ? INSN_MOVES : INSN_STAYS;
    case ZYDIS_CATEGORY_CET:
        return i->mnemonic == ZYDIS_MNEMONIC_ENDBR64 ? INSN_MOVES : INSN_STAYS;
    default:
        return INSN_STAYS;
    }
}

static const struct insn *insn_at(struct window *w, unsigned at)
{
    struct insn *n = &w->at[at];
    ZydisDecodedInstruction i;
    const unsigned last = MM_TEXT_BEFORE + w->code->behind;

    if (n->known)
        return n;
    n->known = true;
    if (at >= last || at < MM_TEXT_BEFORE - w->code->before ||
        !ZYAN_SUCCESS(
            ZydisDecoderDecodeInstruction(&w->decoder, NULL, w->code->bytes + at, last - at, &i)))
        return n;
    n->len = i.length;
    n->kind = (uint8_t)kind_of(&i);
    if (n->kind == INSN_JUMPS)
        n->jump = (int32_t)i.raw.imm[0].value.s;
    if ((i.attributes & ZYDIS_ATTRIB_HAS_MODRM) && i.raw.modrm.mod == 0 && i.raw.modrm.rm == 5)
        n->disp_at = i.raw.disp.offset;
    if (n->kind == INSN_MOVES && i.raw.modrm.mod == 0 && i.raw.modrm.rm == 5 && !n->disp_at)
        n->kind = INSN_STAYS;
    return n;
}

/* Bit n: an instruction begins n + 1 bytes before @to, by the decoding that starts at @at. 0: it does
 * not arrive there. */
static uint32_t beginnings(struct window *w, unsigned at, unsigned to)
{
    uint32_t bits = 0;

    while (at < to) {
        const struct insn *n = insn_at(w, at);
        if (n->kind == INSN_BAD)
            return 0;
        if (to - at <= 32)
            bits |= 1u << (to - at - 1);
        at += n->len;
    }
    return at == to ? bits : 0;
}

/* Beginnings before @to on which all decodings agree: *ret_in say that there is one, *ret_out that
 * none is. */
static bool beginnings_agreed(struct window *w, unsigned to, uint32_t *ret_in, uint32_t *ret_out)
{
    const unsigned first = MM_TEXT_BEFORE - w->code->before;
    unsigned far = to - first < STARTS_FAR ? to - first : STARTS_FAR;
    uint32_t all = ~0u, any = 0;

    if (far < STARTS_NEAR + 14)
        return false;
    for (unsigned d = far; d >= STARTS_NEAR; d--) {
        uint32_t b = beginnings(w, to - d, to);
        if (b) {
            all &= b;
            any |= b;
        }
    }
    *ret_in = all & any;
    *ret_out = ~any;
    return any != 0;
}

/* Does a direct or indirect jump nearby perhaps lead between the instructions of @s? */
static bool entered_nearby(struct window *w, const struct mm_text_site *s)
{
    const unsigned start = SITE - s->len;

    for (unsigned at = 0; at < WINDOW; at++) {
        const uint8_t *p = w->code->bytes + at;
        bool near = at + 160 > SITE && at < SITE + 160;
        bool table = p[0] == 0xff && at + 1 < WINDOW && ((p[1] & 0xf8) == 0xe0 || p[1] == 0x24);

        if (table && insn_at(w, at)->kind == INSN_TABLE)
            return true;
        if (!near || !((p[0] & 0xf0) == 0x70 || p[0] == 0xeb || (p[0] & 0xfc) == 0xe0))
            continue;
        const struct insn *n = insn_at(w, at);
        unsigned to = at + n->len + (unsigned)n->jump - start;
        if (n->kind == INSN_JUMPS && to > 0 && to < s->len && (s->steps >> to & 1))
            return true;
    }
    return false;
}

/* --- padding --- */

/* A page can become the file's again by itself, so nothing may be spread over two. */
static bool same_page(uint64_t at, uint64_t len)
{
    return at / TEXT_PAGE == (at + len - 1) / TEXT_PAGE;
}

/* Length of an aligning no-operation at @p, at most @n bytes; 0: none. */
static unsigned nop_length(const uint8_t *p, unsigned n)
{
    static const struct {
        uint8_t modrm, len;
    } nops[] = {{0x00, 3}, {0x40, 4}, {0x44, 5}, {0x80, 7}, {0x84, 8}};
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
    for (unsigned k = 0; k < ARRAY_SIZE(nops); k++)
        if (p[i + 2] == nops[k].modrm)
            return i + nops[k].len <= n ? i + nops[k].len : 0;
    return 0;
}

static bool is_tail(const uint8_t *p)
{
    return p[0] == 0x48 && p[1] == 0x3d && (p[2] == 0x00 || p[2] == 0x01) && p[3] == 0xf0 &&
           p[4] == 0xff && p[5] == 0xff && (p[6] == 0x77 || p[6] == 0x73) && p[8] == 0xc3;
}

static bool is_padding(const uint8_t *at, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        unsigned len = nop_length(at + i, n - i);

        if (!len)
            return false;
        i += len;
    }
    return n >= MM_TEXT_JUMP;
}

/* Is the byte before @at a return instruction, not the tail of another? */
static bool is_return(struct window *w, unsigned at)
{
    const uint8_t *p = w->code->bytes + at;
    uint32_t in, out;

    return p[-1] == 0xc3 &&
           (is_tail(p - TAIL_SIZE) || (beginnings_agreed(w, at, &in, &out) && (in & 1)));
}

/* Dead padding in reach of a jump of 2 bytes in place of the instructions of @s: what follows a
 * return and aligns what comes then. */
static bool pad_find(struct window *w, struct mm_text_site *s)
{
    const struct mm_text_code *c = w->code;
    const unsigned first = MM_TEXT_BEFORE - c->before, last = MM_TEXT_BEFORE + c->behind;

    for (unsigned at = first + TAIL_SIZE; at + PAD_MOST < last; at++) {
        int from_end = (int)at - (int)MM_TEXT_BEFORE;
        unsigned n = (unsigned)(-(c->end + (uint64_t)(int64_t)from_end) % ALIGNMENT);
        if (n < MM_TEXT_JUMP)
            continue;
        int jump = from_end + (int)s->len;
        uint64_t start = c->end - 2 - s->len, pad = c->end + (uint64_t)(int64_t)from_end;
        if (start / TEXT_PAGE != pad / TEXT_PAGE || !same_page(start, 2) || !same_page(pad, n))
            continue;
        if (jump < -128 || jump > 127 || !is_padding(c->bytes + at, n) || !is_return(w, at))
            continue;
        s->pad = (int16_t)from_end;
        s->pad_len = (uint8_t)n;
        return true;
    }
    return false;
}

/* --- shapes --- */

static bool is_rex_b(uint8_t b)
{
    return (b & 0xf0) == 0x40 && (b & 1);
}

/* mov $imm32,%reg, 5 bytes or 6: the register still holds it, unless the bytes mean something else.
 * Returns the length, 0: it is none. */
static unsigned mov_imm_length(const uint8_t *end, const struct mm_text_call *c)
{
    const uint8_t *p = end - 2 - 5;
    const bool upper = is_rex_b(p[-1]);
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

/* Two bytes that set eax and whose value fits what was called with. */
static unsigned short_length(const uint8_t *end, const struct mm_text_call *c)
{
    const uint8_t *p = end - 2 - 2;
    bool rex = (p[-1] & 0xf0) == 0x40;

    return (p[0] == 0x31 || p[0] == 0x33) && p[1] == 0xc0 && c->nr == 0 && !rex ? 2 : 0;
}

/* As few instructions as have @want bytes. false: there is one that cannot move, or who knows. */
static bool gather(struct window *w, uint32_t in, uint32_t out, unsigned want,
                   struct mm_text_site *s)
{
    unsigned len = 0;

    while (len < want) {
        unsigned next = len;

        for (;; next++) { /* bit next: next + 1 bytes before the syscall */
            if (next >= MM_TEXT_MOVED)
                return false;
            if (in >> next & 1)
                break;
            if (!(out >> next & 1))
                return false;
        }
        const struct insn *n = insn_at(w, SITE - (next + 1));
        if (n->kind != INSN_MOVES || (n->disp_at && s->disp_at))
            return false;
        s->steps = s->steps << (next + 1 - len) | 1;
        if (n->disp_at)
            s->disp_at = n->disp_at;
        else if (s->disp_at)
            s->disp_at = (uint8_t)(s->disp_at + (next + 1 - len));
        len = next + 1;
    }
    s->len = (uint8_t)len;
    memcpy(s->moved, w->code->bytes + SITE - len, len);
    return true;
}

static bool single(const struct mm_text_site *s)
{
    return (s->steps & (s->steps - 1)) == 0;
}

/* Is the jump one store in an aligned word of 8? Then it can be made while threads run the text. */
static bool fits(const struct window *w, const struct mm_text_site *s)
{
    unsigned jump = s->shape == MM_TEXT_PAD ? 2 : MM_TEXT_JUMP;

    return ((w->code->end - 2 - s->len) & 7) + jump <= 8;
}

/* Instructions for a jump of 5 bytes: as few as have them, or as make it fit. 0, or the reason. */
static int long_form(struct window *w, uint32_t in, uint32_t out, struct mm_text_site *ret)
{
    struct mm_text_site s, first = *ret;
    int r = MM_TEXT_SHAPE;

    for (unsigned want = MM_TEXT_JUMP;; want = s.len + 1u) {
        s = (struct mm_text_site){0};
        if (!gather(w, in, out, want, &s))
            break;
        s.shape = single(&s) ? MM_TEXT_ONE : MM_TEXT_MORE;
        if (s.shape == MM_TEXT_MORE && entered_nearby(w, &s)) {
            r = MM_TEXT_TARGET;
            break;
        }
        if (!same_page(w->code->end - 2 - s.len, MM_TEXT_JUMP))
            continue;
        if (!first.len)
            first = s;
        if (!fits(w, &s))
            continue;
        if (s.len > first.len && single(&first))
            s.alone = first.len;
        *ret = s;
        return 0;
    }
    *ret = first;
    return first.len ? 0 : r;
}

static int pad_form(struct window *w, uint32_t in, uint32_t out, const struct mm_text_call *call,
                    struct mm_text_site *ret)
{
    const uint8_t *end = w->code->bytes + MM_TEXT_BEFORE;
    struct mm_text_site s = {.steps = 1, .len = (uint8_t)short_length(end, call)};

    if (s.len) {
        memcpy(s.moved, end - 2 - s.len, s.len);
    } else {
        s.steps = 0;
        if (!gather(w, in, out, 2, &s))
            return MM_TEXT_SHAPE;
        if (!single(&s) && entered_nearby(w, &s))
            return MM_TEXT_TARGET;
    }
    s.shape = MM_TEXT_PAD;
    if (!pad_find(w, &s))
        return MM_TEXT_ROOM;
    *ret = s;
    return 0;
}

int patch_decode(const struct mm_text_code *code, const struct mm_text_call *call,
                 struct mm_text_site *ret)
{
    const uint8_t *end = code->bytes + MM_TEXT_BEFORE;
    struct mm_text_site s = {.steps = 1}, pad;
    struct window w = {.code = code};
    uint32_t in = 0, out = 0; /* nothing known */

    if (code->before < 16 || end[-2] != 0x0f || end[-1] != 0x05 ||
        !ZYAN_SUCCESS(
            ZydisDecoderInit(&w.decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64)))
        return MM_TEXT_SHAPE;
    s.len = (uint8_t)mov_imm_length(end, call);
    s.shape = MM_TEXT_IMM;
    memcpy(s.moved, end - 2 - s.len, s.len);
    if (s.len && fits(&w, &s)) {
        *ret = s;
        return 0;
    }
    if (!same_page(code->end - 2 - s.len, MM_TEXT_JUMP))
        s.len = 0;
    if (!beginnings_agreed(&w, SITE, &in, &out))
        in = out = 0;
    int r = long_form(&w, in, out, &s);
    if (r == 0 && fits(&w, &s)) {
        *ret = s;
        return 0;
    }
    int p = pad_form(&w, in, out, call, &pad);
    if (p == 0 && (r || fits(&w, &pad)))
        *ret = pad;
    else if (r == 0)
        *ret = s;
    return r == 0 || p == 0 ? 0 : r == MM_TEXT_TARGET ? r : p;
}
