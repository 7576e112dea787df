/* SPDX-License-Identifier: Apache-2.0
 * fsrandom.c - a seeded random run of file operations, told as text: fsrandom SEED OPERATIONS [plain]
 *
 * Works in a directory of its own below TMPDIR or /tmp, on a small tree of names and a few open files, and
 * prints what every operation gave: results, errors, contents, attributes. Two runs with one seed
 * must print the same, wherever the directory is (tests/e2e/fsrandom.sh compares). Every SUM_EVERY operations the whole tree
 * is read and its digest printed. `plain` leaves out what servers of plain 9P cannot do.
 * Without arguments: a short run that only has to end. Left out: what is not the same on all file systems (sizes of
 * directories, blocks, times but those set, order of listings). */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "guest.h"

#define NAMES 6
#define FILES 6
#define SIZE_MAX_BYTES 150000
#define CHUNK 40000
#define SUM_EVERY 500
#define DEPTH_MAX 3

static uint64_t g_state;
static bool g_plain;
static int g_fd[FILES];
static char g_buf[SIZE_MAX_BYTES + CHUNK + 4096], g_data[CHUNK];

static uint32_t rnd(uint32_t n)
{
    g_state = g_state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(g_state >> 33) % n;
}

static uint64_t digest(uint64_t h, const void *p, size_t n)
{
    const unsigned char *c = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ c[i]) * 1099511628211ull;
    return h;
}

/* "a", "d1/b", "d1/d0/c": directories are named d0..d2, other things a..f; each may be anything. */
static const char *name(void)
{
    static char bufs[4][64];
    static unsigned at;
    char *b = bufs[at++ % 4];
    size_t n = 0;
    for (uint32_t depth = rnd(DEPTH_MAX); depth; depth--)
        n += (size_t)sprintf(b + n, "d%u/", rnd(3));
    if (rnd(4) == 0)
        sprintf(b + n, "d%u", rnd(3));
    else
        sprintf(b + n, "%c", (char)('a' + rnd(NAMES)));
    return b;
}

static void told(const char *what, long r)
{
    if (r < 0)
        printf("%s: errno %d\n", what, errno);
    else
        printf("%s: %ld\n", what, r);
}

static void attributes(const char *what, const struct stat *st)
{
    printf("%s: %o %lu uid %d", what, st->st_mode, S_ISDIR(st->st_mode) ? 0 : (long)st->st_nlink,
           st->st_uid == geteuid());
    if (S_ISREG(st->st_mode))
        printf(" size %ld", (long)st->st_size);
    printf("\n");
}

static int file(void)
{
    return g_fd[rnd(FILES)];
}

static void op_open(void)
{
    static const int flags[] = {O_RDONLY, O_WRONLY,          O_RDWR,
                                O_RDWR,   O_RDWR | O_APPEND, O_WRONLY | O_APPEND};
    static const int more[] = {
        0,          0,          O_CREAT, O_CREAT, O_CREAT | O_EXCL, O_TRUNC, O_CREAT | O_TRUNC,
        O_NOFOLLOW, O_DIRECTORY};
    static const mode_t modes[] = {0666, 0644, 0600, 0444};
    unsigned at = rnd(FILES);
    const char *n = name();
    int f = flags[rnd(6)] | more[rnd(9)];
    if (g_fd[at] >= 0)
        close(g_fd[at]);
    g_fd[at] = open(n, f, modes[rnd(4)]);
    printf("open %s %o: %d errno %d\n", n, f, g_fd[at] >= 0, g_fd[at] >= 0 ? 0 : errno);
}

static void op_write(void)
{
    int fd = file();
    size_t n = rnd(4) ? rnd(3000) : rnd(CHUNK);
    memset(g_data, (int)('A' + rnd(26)), n);
    if (n)
        g_data[rnd((uint32_t)n)] = (char)rnd(256);
    if (rnd(2)) {
        long r = pwrite(fd, g_data, n, rnd(SIZE_MAX_BYTES));
        told("pwrite", r);
    } else {
        if (lseek(fd, 0, SEEK_CUR) > SIZE_MAX_BYTES)
            told("rewind", lseek(fd, 0, SEEK_SET));
        struct stat st;
        if (fstat(fd, &st) == 0 && st.st_size > SIZE_MAX_BYTES)
            told("shrink", ftruncate(fd, 100));
        long r = write(fd, g_data, n);
        told("write", r);
        told("at", lseek(fd, 0, SEEK_CUR));
    }
}

static void op_read(void)
{
    int fd = file();
    size_t n = rnd(CHUNK);
    long r = rnd(2) ? pread(fd, g_buf, n, rnd(SIZE_MAX_BYTES)) : read(fd, g_buf, n);
    printf("read %ld errno %d %016lx\n", r, r < 0 ? errno : 0,
           r > 0 ? digest(7, g_buf, (size_t)r) : 0);
}

static void op_seek(void)
{
    static const int whence[] = {SEEK_SET, SEEK_CUR, SEEK_END};
    struct stat st;
    int fd = file();
    if (fstat(fd, &st) == 0 &&
        !S_ISDIR(st.st_mode)) /* where those can stand is the file system's affair */
        told("seek", lseek(fd, (long)rnd(SIZE_MAX_BYTES) - 1000, whence[rnd(3)]));
}

static void op_truncate(void)
{
    if (rnd(2))
        told("ftruncate", ftruncate(file(), rnd(SIZE_MAX_BYTES)));
    else
        told("truncate", truncate(name(), rnd(SIZE_MAX_BYTES)));
}

static void op_stat(void)
{
    struct stat st;
    const char *n = name();
    int r = rnd(2) ? stat(n, &st) : lstat(n, &st);
    if (r < 0)
        told("stat", r);
    else
        attributes("stat", &st);
    int fd = file();
    if (fstat(fd, &st) == 0)
        attributes("fstat", &st);
}

static void close_all(void)
{
    for (int i = 0; i < FILES; i++) {
        if (g_fd[i] >= 0)
            close(g_fd[i]);
        g_fd[i] = -1;
    }
}

static void op_names(void)
{
    const char *n = name(), *m = name();
    if (g_plain)
        close_all(); /* servers that know files by paths lose those whose names go */
    switch (rnd(8)) {
    case 0:
        told("unlink", unlink(n));
        break;
    case 1:
        told("mkdir", mkdir(n, rnd(2) ? 0755 : 0700));
        break;
    case 2:
        told("rmdir", rmdir(n));
        break;
    case 3:
        told("symlink", symlink(m, n));
        break;
    case 4:
        told("link", link(m, n));
        break;
    case 5:
        told("unlink", unlinkat(AT_FDCWD, n, rnd(2) ? AT_REMOVEDIR : 0));
        break;
    default:
        told("rename", rename(m, n));
        break;
    }
}

static void op_rename2(void)
{
    const char *n = name(), *m = name();
    unsigned flags = 1u + rnd(2); /* RENAME_NOREPLACE, RENAME_EXCHANGE */
    if (!g_plain)
        told("rename2", renameat2(AT_FDCWD, m, AT_FDCWD, n, flags));
}

static void op_change(void)
{
    struct timespec t[2] = {{.tv_sec = rnd(1000000)}, {.tv_sec = rnd(1000000)}};
    const char *n = name();
    struct stat st;
    switch (rnd(3)) {
    case 0: /* not of directories: an ordinary user could not go on */
        if (stat(n, &st) == 0 && S_ISREG(st.st_mode))
            told("chmod", chmod(n, 0400 | rnd(01000)));
        break;
    case 1:
        told("utimens", utimensat(AT_FDCWD, n, t, 0));
        if (stat(n, &st) == 0)
            printf("mtime %ld\n", (long)st.st_mtime);
        break;
    default:
        told("fchmod", fchmod(file(), 0600 | rnd(0200)));
        break;
    }
}

static void op_space(void)
{
    int fd = file();
    struct stat st;
    if (g_plain)
        return;
    switch (rnd(4)) {
    case 0:
        told("fallocate",
             fallocate(fd, rnd(2) ? FALLOC_FL_KEEP_SIZE : 0, rnd(SIZE_MAX_BYTES), 1 + rnd(CHUNK)));
        break;
    case 1:
        told("punch", fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, rnd(SIZE_MAX_BYTES),
                                1 + rnd(CHUNK)));
        break;
    case 2:
        told("fsync", rnd(2) ? fsync(fd) : fdatasync(fd));
        break;
    default:
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
            long to = lseek(fd, st.st_size, SEEK_HOLE);
            printf("hole at the end: %ld\n", to);
            told("rewind", lseek(fd, 0, SEEK_SET));
        }
        break;
    }
}

static void op_copy(void)
{
    int from = file(), to = file();
    loff_t a = rnd(SIZE_MAX_BYTES), b = rnd(SIZE_MAX_BYTES);
    if (from != to && !g_plain) {
        long r = copy_file_range(from, &a, to, &b, rnd(CHUNK), 0);
        told("copy", r);
    }
}

static void op_map(void)
{
    struct stat st;
    int fd = file(), flags = fcntl(fd, F_GETFL);
    if (g_plain || fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 1 ||
        (flags & O_ACCMODE) == O_WRONLY)
        return;
    bool writes = (flags & O_ACCMODE) == O_RDWR;
    size_t len = (size_t)st.st_size;
    char *p = mmap(NULL, len, PROT_READ | (writes ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED);
    printf("map %zu %016lx\n", len, digest(9, p, len));
    for (uint32_t i = rnd(20); writes && i; i--)
        p[rnd((uint32_t)len)] = (char)rnd(256);
    CHECK(munmap(p, len) == 0);
}

static void op_xattr(void)
{
    char key[] = "user.k0", value[64];
    const char *n = name();
    struct stat st;
    if (g_plain || stat(n, &st) || !S_ISREG(st.st_mode))
        return;
    key[6] = (char)('0' + rnd(3));
    long r = rnd(3) == 0   ? removexattr(n, key)
             : rnd(2) == 0 ? setxattr(n, key, g_data, rnd(50), (int)rnd(3))
                           : getxattr(n, key, value, sizeof value);
    told("xattr", r);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static uint64_t tree(const char *dir, int depth)
{
    struct dirent **list;
    char path[300], target[300];
    struct stat st;
    uint64_t h = 3;
    int n = scandir(dir, &list, NULL, by_name);
    CHECK(n >= 2);
    for (int i = 0; i < n; i++) {
        const char *e = list[i]->d_name;
        if (strcmp(e, ".") == 0 || strcmp(e, "..") == 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, e);
        CHECK(lstat(path, &st) == 0);
        h = digest(h, e, strlen(e));
        h = digest(h, &st.st_mode, sizeof st.st_mode);
        if (S_ISREG(st.st_mode)) {
            h = digest(h, &st.st_size, sizeof st.st_size);
            h = digest(h, &st.st_nlink, sizeof st.st_nlink);
            int fd = open(path, O_RDONLY);
            long r;
            while (fd >= 0 && (r = read(fd, g_buf, CHUNK)) > 0)
                h = digest(h, g_buf, (size_t)r);
            if (fd >= 0)
                close(fd);
        } else if (S_ISLNK(st.st_mode)) {
            long r = readlink(path, target, sizeof target);
            h = digest(h, target, r > 0 ? (size_t)r : 0);
        } else if (S_ISDIR(st.st_mode) && depth < 12) {
            uint64_t in = tree(path, depth + 1);
            h = digest(h, &in, sizeof in);
        }
    }
    while (n > 0)
        free(list[--n]);
    free(list);
    return h;
}

static void run(uint64_t seed, long operations)
{
    static void (*const ops[])(void) = {op_open,  op_open,  op_write,    op_write,   op_write,
                                        op_read,  op_read,  op_seek,     op_stat,    op_names,
                                        op_names, op_names, op_truncate, op_rename2, op_change,
                                        op_space, op_copy,  op_map,      op_xattr};
    g_state = seed * 2654435761u + 1;
    for (int i = 0; i < FILES; i++)
        g_fd[i] = -1;
    for (long i = 1; i <= operations; i++) {
        printf("%ld ", i);
        uint32_t which = rnd(sizeof ops / sizeof *ops);
        ops[which]();
        if (i % SUM_EVERY == 0)
            printf("\n%ld tree %016lx\n", i, tree(".", 0));
    }
    close_all();
}

int main(int argc, char **argv)
{
    char dir[GUEST_TEMPLATE_MAX], cmd[GUEST_TEMPLATE_MAX + 32];
    guest_template(dir, "fsrandom");
    umask(022);
    g_plain = argc > 3;
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    if (argc < 3)
        CHECK(freopen("/dev/null", "w", stdout));
    run(argc > 1 ? strtoull(argv[1], NULL, 10) : 1, argc > 2 ? atol(argv[2]) : 2000);
    CHECK(chdir("/") == 0);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    CHECK(system(cmd) == 0);
    return 0;
}
