/* SPDX-License-Identifier: Apache-2.0
 * proc_maps.c - maps, smaps and smaps_rollup.
 *
 * Regions are asked for one by one; the address space may change in between, the addresses only
 * grow. Sizes by kind are what mm counts: everything resident is shown as private and dirty.
 * Locks: mm's own. */
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "proc.h"

#define NAME_COLUMN 73 /* where Linux puts the name */

static struct mm *maps_mm(const struct pseudo_key *k, int *ret_err)
{
    struct task *t AUTO_PUT(task) = proc_task(k);

    *ret_err = 0;
    if (!t)
        return NULL;
    *ret_err = proc_may_inspect(t);
    return *ret_err ? NULL : task_mm_get(t);
}

static void region_line(struct text *t, const struct mm_region *r)
{
    size_t start = t->len;

    text_printf(t, "%08llx-%08llx %c%c%c%c %08llx %02x:%02x %llu", (unsigned long long)r->start,
                (unsigned long long)r->end, r->prot & PROT_READ ? 'r' : '-',
                r->prot & PROT_WRITE ? 'w' : '-', r->prot & PROT_EXEC ? 'x' : '-',
                r->flags & MAP_SHARED ? 's' : 'p', (unsigned long long)r->offset, major(r->dev),
                minor(r->dev), (unsigned long long)r->ino);
    if (r->name[0]) {
        size_t used = t->len - start;
        int pad = used < NAME_COLUMN ? (int)(NAME_COLUMN - used) : 1;
        text_printf(t, "%*s", pad, "");
        for (const char *c = r->name; *c; c++) {
            if (*c == '\n')
                text_printf(t, "\\012");
            else
                text_add(t, c, 1);
        }
    }
    text_printf(t, "\n");
}

static void region_sizes(struct text *t, uint64_t size, uint64_t rss, bool anonymous)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } lines[] = {
        {"Rss", rss},
        {"Pss", rss},
        {"Pss_Dirty", rss},
        {"Shared_Clean", 0},
        {"Shared_Dirty", 0},
        {"Private_Clean", 0},
        {"Private_Dirty", rss},
        {"Referenced", rss},
        {"Anonymous", anonymous ? rss : 0},
        {"LazyFree", 0},
        {"AnonHugePages", 0},
        {"ShmemPmdMapped", 0},
        {"FilePmdMapped", 0},
        {"Shared_Hugetlb", 0},
        {"Private_Hugetlb", 0},
        {"Swap", 0},
        {"SwapPss", 0},
        {"Locked", 0},
    };
    if (size)
        text_printf(t,
                    "Size:           %8llu kB\nKernelPageSize:        4 kB\n"
                    "MMUPageSize:           4 kB\n",
                    (unsigned long long)size / 1024);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        text_printf(t, "%s:%*llu kB\n", lines[i].name, (int)(23 - strlen(lines[i].name)),
                    (unsigned long long)lines[i].bytes / 1024);
}

static int show_regions(struct text *t, const struct pseudo_key *k, bool sizes)
{
    struct mm_region r;
    uint64_t at = 0;
    int err;
    struct mm *mm = maps_mm(k, &err);

    if (!mm)
        return err;
    while (!t->failed && mm_region_next(mm, at, &r)) {
        region_line(t, &r);
        if (sizes) {
            region_sizes(t, r.end - r.start, r.rss, !r.ino);
            text_printf(t, "THPeligible:           0\nVmFlags: %s%s%s%smr mw me \n",
                        r.prot & PROT_READ ? "rd " : "", r.prot & PROT_WRITE ? "wr " : "",
                        r.prot & PROT_EXEC ? "ex " : "", r.flags & MAP_SHARED ? "sh " : "");
        }
        at = r.end;
    }
    mm_put(mm);
    return 0;
}

int proc_show_maps(struct text *t, const struct pseudo_key *k)
{
    return show_regions(t, k, false);
}

int proc_show_smaps(struct text *t, const struct pseudo_key *k)
{
    return show_regions(t, k, true);
}

int proc_show_smaps_rollup(struct text *t, const struct pseudo_key *k)
{
    struct mm_stats s;
    struct mm_region first, r;
    uint64_t end = 0;
    int err;
    struct mm *mm = maps_mm(k, &err);

    if (!mm)
        return err;
    mm_stats_get(mm, &s);
    if (mm_region_next(mm, 0, &first)) {
        for (uint64_t at = first.end; mm_region_next(mm, at, &r); at = r.end)
            end = r.end;
        text_printf(t, "%08llx-%08llx ---p 00000000 00:00 0%*s[rollup]\n",
                    (unsigned long long)first.start, (unsigned long long)MAX(end, first.end), 25,
                    "");
        region_sizes(t, 0, s.rss, true);
    }
    mm_put(mm);
    return 0;
}
