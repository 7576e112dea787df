/* SPDX-License-Identifier: Apache-2.0
 * mounts.c - --bind, --tmpfs, --mount: what they say, and what they would hide from each other.
 *
 *   --bind SRC:DST[:OPTIONS]            ro (default), rw; exclusive (default of ro), shared (of rw)
 *   --tmpfs DST[:size=SIZE]
 *   --mount 9p:SOCKET:DST[:OPTIONS]     as --bind, rw by default; aname=NAME
 *
 * DST begins at the last ":/", so SRC may have colons in it. Options are applied in their order; one that
 * would hide an earlier one is refused.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "mounts.h"

#define SIZE_MIN 4096ull
#define SIZE_MAX_BYTES (64ULL << 40)

static int bad(const struct mount_arg *a, const char *why)
{
    return cmd_error("%s %s: %s", a->option, a->text, why);
}

/* An absolute path without empty components and the last slash; NULL: it is none that can be used. */
static char *path_normal(const char *s, size_t len)
{
    char *out = len < PATH_MAX && s[0] == '/' ? malloc(len + 1) : NULL;
    size_t n = 0;

    for (size_t at = 0; out && at < len;) {
        while (at < len && s[at] == '/')
            at++;
        size_t part = strcspn(s + at, "/:");
        part = MIN(part, len - at);
        bool dots = (part == 1 && s[at] == '.') || (part == 2 && memcmp(s + at, "..", 2) == 0);
        if (dots || (part == 0 && at < len)) {
            free(out);
            return NULL;
        }
        if (part) {
            out[n++] = '/';
            memcpy(out + n, s + at, part);
            n += part;
        }
        at += part;
    }
    if (out)
        out[n] = 0;
    return out;
}

static bool beneath(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

static int target_set(struct mounts *m, struct mount_arg *a, const char *s, size_t len)
{
    a->target = path_normal(s, len);
    if (!a->target)
        return bad(a, "the place inside is not an absolute path without . and ..");
    if (!*a->target)
        return bad(a, "/ is what --rootfs is for");
    for (unsigned i = 0; i < m->count; i++) {
        const struct mount_arg *b = &m->arg[i];
        if (strcmp(a->target, b->target) == 0)
            return cmd_error("%s %s: %s %s is mounted there already", a->option, a->text, b->option,
                             b->text);
        if (beneath(b->target, a->target))
            return cmd_error("%s %s would hide %s %s; give it first", a->option, a->text, b->option,
                             b->text);
    }
    return 0;
}

/* NULL: one too many, with a message. It counts when the caller says so. */
static struct mount_arg *add_start(struct mounts *m, enum boot_mount_kind kind, const char *option,
                                   const char *value)
{
    struct mount_arg *a = &m->arg[m->count];

    if (m->count == MOUNTS_GIVEN_MAX) {
        cmd_error("%s %s: more than %u mounts", option, value, MOUNTS_GIVEN_MAX);
        return NULL;
    }
    *a = (struct mount_arg){.kind = kind, .option = option, .text = value};
    return a;
}

/* One word of the options; false: there is no such. */
static bool option_word(struct mount_arg *a, const char *w, size_t n, int *access, int *sharing)
{
    static const char *const words[] = {"ro", "rw", "exclusive", "shared"};

    if (a->kind == BOOT_9P_SERVER && n >= 6 && memcmp(w, "aname=", 6) == 0 && !a->aname) {
        a->aname = strndup(w + 6, n - 6);
        return a->aname;
    }
    for (int i = 0; i < 4; i++)
        if (strlen(words[i]) == n && memcmp(w, words[i], n) == 0) {
            int *which = i < 2 ? access : sharing;
            if (*which >= 0)
                return false; /* twice */
            *which = i % 2;
            return true;
        }
    return false;
}

static int options_set(struct mount_arg *a, const char *s)
{
    int access = -1, sharing = -1;

    while (s && *s) {
        size_t n = strcspn(s, ",");
        if (!option_word(a, s, n, &access, &sharing))
            return bad(a, a->kind == BOOT_BIND
                              ? "the options are ro or rw, and exclusive or shared"
                              : "the options are ro or rw, exclusive or shared, and aname=NAME");
        s += n + (s[n] == ',');
    }
    if (access < 0)
        access = a->kind == BOOT_9P_SERVER;
    a->read_only = access == 0;
    a->exclusive = sharing < 0 ? a->read_only : sharing == 0;
    return 0;
}

/* SOURCE:DST[:OPTIONS] */
static int source_target_set(struct mounts *m, struct mount_arg *a, const char *s)
{
    const char *dst = NULL;

    for (const char *p = strstr(s, ":/"); p; p = strstr(p + 1, ":/"))
        dst = p + 1;
    const char *words = dst ? strchr(dst, ':') : NULL;
    if (!dst || dst == s + 1)
        return bad(a, a->kind == BOOT_BIND ? "not of the form SRC:DST[:ro|rw]"
                                           : "not of the form 9p:SOCKET:DST[:OPTIONS]");
    a->source = strndup(s, (size_t)(dst - 1 - s));
    if (!a->source)
        return bad(a, "out of memory");
    int r = options_set(a, words ? words + 1 : NULL);
    return r ? r : target_set(m, a, dst, words ? (size_t)(words - dst) : strlen(dst));
}

int mounts_add_bind(struct mounts *m, const char *value)
{
    struct mount_arg *a = add_start(m, BOOT_BIND, "--bind", value);
    int r = a ? source_target_set(m, a, value) : EXIT_FAILED;

    if (r == 0)
        m->count++;
    return r;
}

int mounts_add_server(struct mounts *m, const char *value)
{
    struct mount_arg *a = add_start(m, BOOT_9P_SERVER, "--mount", value);

    if (!a)
        return EXIT_FAILED;
    if (strncmp(value, "9p:", 3) != 0)
        return bad(a, "not of the form 9p:SOCKET:DST[:OPTIONS]");
    int r = source_target_set(m, a, value + 3);
    if (r == 0)
        m->count++;
    return r;
}

static bool size_parse(const char *s, uint64_t *ret)
{
    static const char units[] = "kmgt";
    char *end;

    errno = 0;
    unsigned long long n = strtoull(s, &end, 10);
    const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
    unsigned shift = unit ? 10u * (unsigned)(unit - units + 1) : 0;
    if (unit)
        end++;
    if (errno || *end || !isdigit((unsigned char)*s) || n > (UINT64_MAX >> shift))
        return false;
    *ret = n << shift;
    return *ret >= SIZE_MIN && *ret <= SIZE_MAX_BYTES;
}

int mounts_add_tmpfs(struct mounts *m, const char *value)
{
    struct mount_arg *a = add_start(m, BOOT_TMPFS, "--tmpfs", value);

    if (!a)
        return EXIT_FAILED;
    const char *words = strchr(value, ':');
    if (words && (strncmp(words, ":size=", 6) != 0 || !size_parse(words + 6, &a->size_bytes)))
        return bad(a, "the option is size=SIZE, from 4K to 64T, such as size=64M");
    int r = target_set(m, a, value, words ? (size_t)(words - value) : strlen(value));
    if (r == 0)
        m->count++;
    return r;
}
