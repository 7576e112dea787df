/* SPDX-License-Identifier: Apache-2.0
 * ranges.c - memory file ranges for lanes and request pages, kept populated for reuse.
 *
 * A fault costs more than all else in making a thread, so ranges of dead processes are kept, up to
 * a limit, instead of being punched out. They hold old guest data: who takes one clears it.
 *
 * Locks: cache lock (RANK_LEAF), never held across a host call.
 */
#include <stubs/stubs.h>

#include <base/lock.h>

static struct {
    struct spin lock;
    unsigned count[2];
    uint64_t off[2][RANGES_CACHED];
} g_cache = {.lock = SPIN_INIT(RANK_LEAF)};

static uint64_t range_len(enum range_kind kind)
{
    return kind == RANGE_LANE ? LANE_SIZE : STUB_REQ_BYTES;
}

int range_get(enum range_kind kind, uint64_t *ret_off)
{
    uint64_t off = 0;
    bool cached = false;

    spin_lock(&g_cache.lock);
    if (g_cache.count[kind]) {
        off = g_cache.off[kind][--g_cache.count[kind]];
        cached = true;
    }
    spin_unlock(&g_cache.lock);
    if (!cached) {
        int r = memfile_alloc(g_stubs.mf, range_len(kind), MEMFILE_ANY, &off);
        if (r)
            return r;
        r = memfile_populate(g_stubs.mf, off, range_len(kind)); /* else SIGBUS beyond the limit */
        if (r) {
            memfile_free(g_stubs.mf, off, range_len(kind));
            return r;
        }
    }
    *ret_off = off;
    return 0;
}

void range_put(enum range_kind kind, uint64_t off)
{
    bool kept = false;

    spin_lock(&g_cache.lock);
    if (g_cache.count[kind] < RANGES_CACHED) {
        g_cache.off[kind][g_cache.count[kind]++] = off;
        kept = true;
    }
    spin_unlock(&g_cache.lock);
    if (!kept)
        memfile_free(g_stubs.mf, off, range_len(kind));
}

void ranges_free_all(void)
{
    for (int kind = 0; kind < 2; kind++)
        while (g_cache.count[kind])
            memfile_free(g_stubs.mf, g_cache.off[kind][--g_cache.count[kind]],
                         range_len((enum range_kind)kind));
}
