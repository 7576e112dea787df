/* SPDX-License-Identifier: Apache-2.0
 * values.c - what a hostile program would say: numbers at edges, addresses that are nearly right,
 * arguments by the kinds that the table gives, and the memory that processes start with. */
#include "values.h"

#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>

#include <base/err.h>
#include <ring/abi.h>
#include <syscall/sys.h>

#define STRINGS 0x8000ULL /* in the program's data */
#define STRING_SIZE 64ULL
#define STRING_COUNT 64ULL

/* --- chance --- */

static uint64_t g_state;

void chance_seed(uint64_t seed)
{
    g_state = seed * 0x9e3779b97f4a7c15ULL | 1;
}

uint64_t rnd(void)
{
    g_state ^= g_state << 13;
    g_state ^= g_state >> 7;
    g_state ^= g_state << 17;
    return g_state * 0x2545f4914f6cdd1dULL;
}

uint64_t below(uint64_t n)
{
    return (rnd() >> 11) % n;
}

bool chance(unsigned one_in)
{
    return below(one_in) == 0;
}

/* --- values --- */

static uint64_t any_number(void)
{
    static const uint64_t known[] = {
        0,       1,    2,     3,     4,      7,      8,         9,       16,      24,
        64,      128,  255,   256,   1023,   1024,   4095,      4096,    4097,    8192,
        65536,   0x22, 0x32,  0x12,  0x42,   0x80,   0x800,     0x80000, 0x80800, 0x1000,
        0x10000, 0x11, 0x101, 0x200, 0x2000, 0xffff, 0x7fffffff};
    switch (below(8)) {
    case 0:
        return below(64);
    case 1:
        return 1ULL << below(64);
    case 2:
        return (1ULL << below(64)) - 1;
    case 3:
        return -(uint64_t)below(4096);
    case 4:
        return rnd();
    default:
        return known[below(ARRAY_SIZE(known))];
    }
}

uint64_t any_address(void)
{
    switch (below(16)) {
    case 0:
        return 0;
    case 1:
        return PROGRAM_DATA + PROGRAM_DATA_SIZE - below(64); /* its end */
    case 2:
        return PROGRAM_TEXT + below(PROGRAM_TEXT_SIZE);
    case 3:
        switch (below(5)) {
        case 0:
            return STUB_REGION + below(STUB_REGION_END - STUB_REGION);
        case 1:
            return STUB_REGION - below(64);
        case 2:
            return rnd();
        case 3:
            return ~0ULL - below(4096);
        default:
            return below(65536);
        }
    default:
        return PROGRAM_DATA + (below(PROGRAM_DATA_SIZE) & ~7ULL);
    }
}

static uint64_t any_string(void)
{
    return chance(12) ? any_address() : PROGRAM_DATA + STRINGS + STRING_SIZE * below(STRING_COUNT);
}

static uint64_t any_fd(void)
{
    switch (below(12)) {
    case 0:
        return (uint64_t)(int64_t)AT_FDCWD;
    case 1:
        return ~0ULL;
    case 2:
        return below(2048);
    case 3:
        return rnd();
    default:
        return below(32);
    }
}

static uint64_t any_flags(void)
{
    uint64_t f = 0;

    if (chance(4))
        return any_number();
    for (uint64_t n = below(4); n; n--)
        f |= 1ULL << below(32);
    return f;
}

static uint64_t any_of_kind(const char *kind)
{
    if (!kind || chance(24))
        return any_number();
    if (!strcmp(kind, "FD"))
        return any_fd();
    if (!strcmp(kind, "PATH") || !strcmp(kind, "STR"))
        return any_string();
    if (!strcmp(kind, "FLAGS") || !strcmp(kind, "MODE"))
        return any_flags();
    if (!strcmp(kind, "PID"))
        return chance(4) ? any_number() : below(320);
    if (!strcmp(kind, "SIG"))
        return chance(4) ? any_number() : below(66);
    if (strstr(kind, "IN") == kind + strlen(kind) - 2 || strstr(kind, "OUT") ||
        strstr(kind, "ADDR"))
        return any_address();
    return any_number();
}

/* Calls that mostly end processes come seldom: a new process costs as much as hundreds of entries. */
static bool is_lethal(uint32_t nr)
{
    static const uint32_t lethal[] = {SYS_exit,  SYS_exit_group, SYS_kill,
                                      SYS_tkill, SYS_tgkill,     SYS_rt_sigqueueinfo};

    for (unsigned i = 0; i < ARRAY_SIZE(lethal); i++)
        if (nr == lethal[i])
            return true;
    return false;
}

uint32_t any_call(uint64_t args[6])
{
    uint32_t nr = (uint32_t)below(SYS_NR_MAX);
    const struct sys_row *row = sys_row(nr);

    while ((!row->name && !chance(200)) || (is_lethal(nr) && !chance(8))) {
        nr = (uint32_t)below(SYS_NR_MAX);
        row = sys_row(nr);
    }
    for (unsigned i = 0; i < 6; i++)
        args[i] = any_of_kind(row->arg_kinds[i]);
    /* Timeouts of a day keep guests from posting. */
    if (chance(64)) {
        nr = chance(2) ? (uint32_t)rnd() : RING_CTL_NR;
        args[0] = below(8);
    }
    return nr;
}

/* --- what processes start with --- */

uint8_t program_text[PROGRAM_TEXT_SIZE], program_data[PROGRAM_DATA_SIZE];

uint64_t any_word(void)
{
    switch (below(12)) {
    case 0:
        return below(4) | below(4) << 32; /* pairs of descriptors, timespec seconds */
    case 1:
        return below(200000); /* nanoseconds */
    case 2:
        return 1 | 0x612fULL << 16 | below(2) << 32; /* AF_UNIX "/a" */
    case 3:
        return any_number();
    case 4:
        return (any_fd() & UINT32_MAX) | any_flags() << 32;
    case 5:
        return any_string();
    case 6:
        return 0;
    case 7:
    case 8:
        return below(4096);
    default:
        return any_address();
    }
}

void program_make(void)
{
    static const char *const strings[] = {"/x",
                                          "/tmp/s",
                                          "/tmp/a",
                                          "/tmp/b",
                                          "/tmp/c",
                                          "/tmp/d",
                                          "/d/e",
                                          "/d/e/f",
                                          "a",
                                          "b",
                                          "../..",
                                          ".",
                                          "..",
                                          "/",
                                          "",
                                          "/dev/null",
                                          "tmpfs",
                                          "/dev/zero",
                                          "/dev/urandom",
                                          "user.a",
                                          "user.b",
                                          "/dev/tty",
                                          "/tmp/a/b/../c",
                                          "/proc/self/maps",
                                          "/proc/self/fd/3",
                                          "/proc/self/mem",
                                          "/proc/1/status",
                                          "/proc/self/exe",
                                          "/proc/self/cwd/..",
                                          "/proc/meminfo",
                                          "/proc/self/task",
                                          "/sys/devices",
                                          "/dev/shm/x",
                                          "/proc/sys/kernel/hostname",
                                          "/proc/self/stat",
                                          "/dev/full",
                                          "system.posix_acl_access",
                                          "/proc/mounts",
                                          "/dev/stdin",
                                          "/etc/passwd",
                                          "/proc/self/environ",
                                          "/d/e/../../x"};
    static const uint8_t site[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0x90};

    for (unsigned i = 0; i < sizeof program_text; i++)
        program_text[i] = chance(4) ? (uint8_t)rnd() : site[i % sizeof site];
    for (unsigned i = 0; i + 8 <= sizeof program_data; i += 8) {
        uint64_t w = any_word();
        memcpy(program_data + i, &w, 8);
    }
    for (unsigned i = 0; i < STRING_COUNT; i++)
        strncpy((char *)program_data + STRINGS + i * STRING_SIZE,
                i < ARRAY_SIZE(strings) ? strings[i] : strings[below(ARRAY_SIZE(strings))],
                STRING_SIZE);
    memset(program_data + STRINGS + (STRING_COUNT - 1) * STRING_SIZE, 'z',
           STRING_SIZE); /* no end */
}
