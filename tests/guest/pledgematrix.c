/* SPDX-License-Identifier: Apache-2.0
 * pledgematrix.c - every promise against every call of the Sentry's table (tests/e2e/policies.sh gives it
 * on stdin: number, name, "by" if arguments count too, then the promises that let it in).
 *
 * For each promise, none and all, a child promises that and makes each call with arguments that are
 * nowhere right. The same without a promise is what it is compared with: refused calls are -EPERM, others
 * are not, unless they are so for everybody. */
#include <sys/mman.h>

#include <ringbox.h>

#include "guest.h"

#define CALLS_MAX 512
#define SETS_MAX 40

struct row {
    int nr;
    bool by;
    char name[32], promises[256];
};
static struct row g_rows[CALLS_MAX];
static int g_count;
static char g_sets[SETS_MAX][32];
static int g_set_count;
static long (*g_results)[CALLS_MAX]; /* [set]; the last: nothing promised */

/* Calls that end the caller, make another one, or wait for ever. */
static bool made(const char *name)
{
    static const char *const not [] = {"exit",  "exit_group", "fork",         "vfork",
                                       "clone", "pause",      "rt_sigreturn", "close_range"};
    for (unsigned i = 0; i < sizeof(not ) / sizeof(not [0]); i++)
        if (!strcmp(name, not [i]))
            return false;
    return true;
}

static long nowhere(int nr)
{
    long r;
    register long r10 __asm__("r10") = -1;
    register long r8 __asm__("r8") = -1;
    register long r9 __asm__("r9") = -1;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"((long)nr), "D"(-1L), "S"(-1L), "d"(-1L), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

static void child(int set, const char *promises)
{
    signal(SIGALRM, SIG_IGN);
    if (promises && ringbox_pledge(promises, NULL))
        _exit(2);
    for (int i = 0; i < g_count; i++)
        if (made(g_rows[i].name))
            g_results[set][i] = nowhere(g_rows[i].nr);
    _exit(0);
}

static void run(int set, const char *promises)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        child(set, promises);
    int status = guest_wait(pid);
    if (status) {
        printf("with '%s': wait status 0x%x\n", promises ? promises : "(nothing promised)",
               (unsigned)status);
        exit(1);
    }
}

static bool has_word(const char *list, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = list; *p; p += strcspn(p, " "), p += strspn(p, " "))
        if (strcspn(p, " ") == n && !memcmp(p, word, n))
            return true;
    return false;
}

static void read_table(void)
{
    char line[400], by[8];
    int at;
    while (fgets(line, sizeof(line), stdin)) {
        struct row *r = &g_rows[g_count];
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "promise %31s", g_sets[g_set_count]) == 1) {
            g_set_count++;
            continue;
        }
        CHECK(g_count < CALLS_MAX && g_set_count < SETS_MAX - 3);
        CHECK(sscanf(line, "%d %31s %7s %n", &r->nr, r->name, by, &at) == 3);
        r->by = !strcmp(by, "by");
        snprintf(r->promises, sizeof(r->promises), "%s", line + at);
        g_count++;
    }
    CHECK(g_count > 250 && g_set_count > 15);
}

int main(void)
{
    char all[SETS_MAX * 32] = "";
    int failed = 0, refused = 0, let_in = 0, same = 0;
    read_table();
    for (int s = 0; s < g_set_count; s++) {
        strcat(all, g_sets[s]);
        strcat(all, " ");
    }
    int none = g_set_count, every = g_set_count + 1, free_ = g_set_count + 2;
    g_results = mmap(NULL, sizeof(*g_results) * SETS_MAX, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(g_results != MAP_FAILED);
    run(free_, NULL);
    run(none, "");
    run(every, all);
    for (int s = 0; s < g_set_count; s++)
        run(s, g_sets[s]);
    for (int s = 0; s <= every; s++)
        for (int i = 0; i < g_count; i++) {
            const struct row *r = &g_rows[i];
            bool always = !strcmp(r->promises, "always"), never = !strcmp(r->promises, "never");
            bool in = always ||
                      (!never && (s == every || (s < none && has_word(r->promises, g_sets[s]))));
            long got = g_results[s][i], base = g_results[free_][i];
            if (!made(r->name))
                continue;
            if (base == -EPERM) {
                same++;
                continue;
            }
            if (in && r->by)
                continue; /* its arguments may want more: the unit test's */
            in ? let_in++ : refused++;
            if ((got == -EPERM) == !in)
                continue;
            failed++;
            printf("%s with '%s': %ld, without promises %ld\n", r->name,
                   s == none    ? ""
                   : s == every ? "all"
                                : g_sets[s],
                   got, base);
        }
    printf("%d promises, %d calls: %d refused, %d let in, %d are EPERM to everybody, %d wrong\n",
           g_set_count, g_count, refused, let_in, same, failed);
    return failed != 0;
}
