/* SPDX-License-Identifier: Apache-2.0
 * asan_hello.c - a program built with a sanitizer of its own: its run-time library reserves
 * terabytes without rights or without reserve before main() runs. The same source is built with
 * -fsanitize=address and with -fsanitize=thread.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4

static pthread_mutex_t g_mutex = PTHREAD_MUTEX_INITIALIZER;
static int g_sum;

static void *add(void *arg)
{
    int *n = malloc(sizeof *n);
    if (!n)
        abort();
    *n = *(int *)arg;
    pthread_mutex_lock(&g_mutex);
    g_sum += *n;
    pthread_mutex_unlock(&g_mutex);
    free(n);
    return NULL;
}

int main(void)
{
    pthread_t threads[THREADS];
    int args[THREADS];
    for (int i = 0; i < THREADS; i++) {
        args[i] = i + 1;
        if (pthread_create(&threads[i], NULL, add, &args[i])) {
            fprintf(stderr, "thread %d does not start\n", i);
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("sum %d\n", g_sum);
    return g_sum == 10 ? 0 : 1;
}
