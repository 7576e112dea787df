/* SPDX-License-Identifier: Apache-2.0
 * p9_fuzz.c - every decoder on arbitrary bytes; what decodes must encode to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include <p9/wire.h>

static uint8_t g_out[P9_MSIZE_MAX];

#define M(name, nr, fields)                                                                        \
    static void try_##name(const uint8_t *msg, size_t len)                                         \
    {                                                                                              \
        struct p9_##name m;                                                                        \
        if (p9_decode_##name(msg, len, &m) < 0)                                                    \
            return;                                                                                \
        if (p9_encode_##name(g_out, sizeof g_out, &m) != (int)len || memcmp(g_out, msg, len) != 0) \
            abort();                                                                               \
    }
#include <p9/messages.def>
#undef M

static void try_entries(const uint8_t *buf, size_t len, bool with_attr)
{
    struct p9_dirent d;
    for (size_t at = 0; at < len;) {
        int n = p9_decode_dirent(buf + at, len - at, &d, with_attr);
        if (n <= 0)
            return;
        if (p9_encode_dirent(g_out, sizeof g_out, &d, with_attr) != n ||
            memcmp(g_out, buf + at, (size_t)n) != 0)
            abort();
        (void)p9_name_ok(&d.name);
        at += (size_t)n;
    }
}

static void try_blocks(const uint8_t *buf, size_t len)
{
    struct p9_scan_block b;
    for (size_t at = 0; at < len;) {
        int n = p9_decode_scan_block(buf + at, len - at, &b);
        if (n <= 0)
            return;
        if (p9_encode_scan_block(g_out, sizeof g_out, &b) != n ||
            memcmp(g_out, buf + at, (size_t)n) != 0 || b.len > len - at - (size_t)n)
            abort();
        at += (size_t)n + b.len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < P9_HDR || size > 65536)
        return 0;
    uint8_t *msg = malloc(size);
    memcpy(msg, data, size);
    (void)p9_frame(msg, size, P9_MSIZE_DEFAULT);
    try_entries(msg, size, false);
    try_entries(msg, size, true);
    try_blocks(msg, size);
    for (unsigned i = 0; i < 4; i++)
        msg[i] = (uint8_t)(size >> (8 * i)); /* else nothing gets past the frame */
    switch (p9_type_of(msg)) {
#define M(name, nr, fields)    \
    case (nr):                 \
        try_##name(msg, size); \
        break;
#include <p9/messages.def>
#undef M
    default:
        break;
    }
    free(msg);
    return 0;
}
