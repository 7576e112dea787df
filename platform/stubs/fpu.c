/* SPDX-License-Identifier: Apache-2.0
 * fpu.c - the extended state in a signal frame: its size here, and making an image safe.
 *
 * The host writes an XSAVE image in standard format into the frame, describes it in the reserved
 * bytes of the FXSAVE area, and ends it with a second mark. An image whose marks are wrong is
 * restored as FXSAVE only; one with bits the CPU refuses ends the process in rt_sigreturn. Both
 * must not happen to an honest guest, and neither can hurt anybody else.
 */
#include <cpuid.h>
#include <errno.h>
#include <string.h>

#include <stubs/stubs.h>

#define FX_SIZE 512
#define FX_MXCSR 24
#define FX_SW 464 /* magic1, extended_size, features, xstate_size */
#define MAGIC1 0x46505853U
#define MAGIC2 0x46505845U
#define XSAVE_HEADER 64
#define FEATURE_FPSSE 3ULL
#define FEATURE_TILE_DATA (1ULL << 18) /* needs a permission that guests cannot ask for */
#define MXCSR_VALID 0xffbfU

void fpu_init(void)
{
    uint32_t a, b, c, d;

    g_stubs.fpu_size = FX_SIZE;
    g_stubs.fpu_features = 0;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    __asm__ volatile("xgetbv" : "=a"(a), "=d"(d) : "c"(0));
    uint64_t features = ((uint64_t)d << 32 | a) & ~FEATURE_TILE_DATA;
    uint32_t size = FX_SIZE + XSAVE_HEADER;
    for (unsigned i = 2; i < 63; i++) {
        uint32_t len, off;
        if (!(features & 1ULL << i) || !__get_cpuid_count(0xd, i, &len, &off, &c, &d))
            continue;
        size = MAX(size, off + len);
    }
    g_stubs.fpu_features = features;
    g_stubs.fpu_size = size + (uint32_t)sizeof(uint32_t);
}

static void put32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof v);
}

static void put64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

int fpu_sanitize(uint8_t *image, size_t len)
{
    uint32_t mxcsr;
    uint64_t present;

    if (len != g_stubs.fpu_size)
        return -EINVAL;
    memcpy(&mxcsr, image + FX_MXCSR, sizeof mxcsr);
    put32(image + FX_MXCSR, mxcsr & MXCSR_VALID);
    memset(image + FX_SW, 0, FX_SIZE - FX_SW);
    if (!g_stubs.fpu_features)
        return 0;
    uint32_t size = g_stubs.fpu_size - (uint32_t)sizeof(uint32_t);
    put32(image + FX_SW, MAGIC1);
    put32(image + FX_SW + 4, g_stubs.fpu_size);
    put64(image + FX_SW + 8, g_stubs.fpu_features);
    put32(image + FX_SW + 16, size);
    memcpy(&present, image + FX_SIZE, sizeof present);
    memset(image + FX_SIZE, 0, XSAVE_HEADER); /* standard format, reserved bytes zero */
    put64(image + FX_SIZE, present & g_stubs.fpu_features);
    put32(image + size, MAGIC2);
    return 0;
}
