/* SPDX-License-Identifier: Apache-2.0
 * batchread.c - reads many files in batches: openat of a batch, then all reads, then all closes.
 * Prints the number of files, bytes and a checksum, so that runs can be compared.
 *
 *      find /usr/include -type f | batchread [--one] [BATCH]      --one: plain calls, one by one */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ringbox.h>

#define BATCH_MAX 256
#define CHUNK 16384

struct item {
    char *path;
    int fd;
    int64_t got;
};

static char buffers[BATCH_MAX][CHUNK];
static struct item items[BATCH_MAX];
static uint64_t files, bytes, sum;

static void account(const struct item *it, const char *data)
{
    if (it->got < 0)
        return;
    for (int64_t i = 0; i < it->got; i++)
        sum = sum * 31 + (unsigned char)data[i];
    bytes += (uint64_t)it->got;
}

/* Submit what was prepared and hand the n results to their items. */
static void collect(struct ringbox *rb, int n, int what)
{
    ringbox_submit(rb);
    for (int i = 0; i < n; i++) {
        const struct ringbox_result *r = ringbox_wait(rb);
        struct item *it = &items[r->user_data];
        if (what == 0)
            it->fd = (int)r->result;
        else if (what == 1)
            it->got = r->result;
        ringbox_advance(rb, 1);
    }
}

static void run_batch(struct ringbox *rb, int n)
{
    struct ringbox_entry *e;
    int opened = 0;

    for (int i = 0; i < n; i++) {
        e = ringbox_get(rb);
        ringbox_prep_openat(e, AT_FDCWD, items[i].path, O_RDONLY, 0);
        ringbox_set_data(e, (uint64_t)i);
    }
    collect(rb, n, 0);
    for (int i = 0; i < n; i++) {
        items[i].got = -1;
        if (items[i].fd < 0)
            continue;
        e = ringbox_get(rb);
        ringbox_prep_read(e, items[i].fd, buffers[i], CHUNK);
        ringbox_set_data(e, (uint64_t)i);
        opened++;
    }
    collect(rb, opened, 1);
    for (int i = 0; i < n; i++) {
        if (items[i].fd < 0)
            continue;
        e = ringbox_get(rb);
        ringbox_prep_close(e, items[i].fd);
        ringbox_set_data(e, (uint64_t)i);
    }
    collect(rb, opened, 2);
    for (int i = 0; i < n; i++)
        account(&items[i], buffers[i]);
    files += (uint64_t)opened;
}

static void run_one(int n)
{
    for (int i = 0; i < n; i++) {
        items[i].fd = open(items[i].path, O_RDONLY);
        if (items[i].fd < 0)
            continue;
        items[i].got = read(items[i].fd, buffers[i], CHUNK);
        close(items[i].fd);
        account(&items[i], buffers[i]);
        files++;
    }
}

int main(int argc, char **argv)
{
    bool one = argc > 1 && strcmp(argv[1], "--one") == 0;
    int batch = argc > 1 + one ? atoi(argv[1 + one]) : 64, n = 0;
    struct ringbox *rb;
    char line[4096];

    if (batch < 1 || batch > BATCH_MAX || ringbox_open(&rb, BATCH_MAX)) {
        fprintf(stderr, "batchread: batch is 1..%d\n", BATCH_MAX);
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        items[n++].path = strdup(line);
        if (n < batch)
            continue;
        one ? run_one(n) : run_batch(rb, n);
        while (n)
            free(items[--n].path);
    }
    one ? run_one(n) : run_batch(rb, n);
    printf("%llu files, %llu bytes, sum %016llx\n", (unsigned long long)files,
           (unsigned long long)bytes, (unsigned long long)sum);
    ringbox_close(rb);
    return 0;
}
