/* SPDX-License-Identifier: Apache-2.0
 * hostile.h - what the cases of guest_hostile share.
 *
 * A case attacks from children of its own and returns; what the children come to does not matter.
 * It may also check what a program must see (an errno, a fault): CHECK() ends the case as failed.
 */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <ring/abi.h>

#define CHECK(cond)                                  \
    do {                                             \
        if (!(cond))                                 \
            hostile_fail(__FILE__, __LINE__, #cond); \
    } while (0)

void hostile_fail(const char *file, int line, const char *what) __attribute__((noreturn));

/* Seeded numbers. */
uint64_t rnd(uint64_t *state);
/* Odd values: 0, -1, small, pointers good and bad, stub addresses, the kernel half, descriptors. */
uint64_t odd_value(uint64_t *state);
/* Memory and descriptors that odd_value() offers; once per child. */
void odd_prepare(void);

/* A system call with all registers given, from a site of its own. */
long raw_call(long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

/* This thread's lane. */
struct lane *own_lane(void);

/* Run fn(arg) in a child; SIGKILL after ms. Returns its wait status, or -1 when there was none. */
int in_child(void (*fn)(uint64_t arg), uint64_t arg, int ms);
/* The same, and its status must be 0; says how long it took. */
void run_well(void (*fn)(uint64_t arg), uint64_t arg, int ms);
/* fn(0..n-1), each in a child, up to eight at a time. */
void in_children(void (*fn)(uint64_t arg), uint64_t n, int ms);
void sleep_ms(int ms);
int64_t now_ms(void);

/* A thread of this process runs fn(arg) for ever. */
void thread_start(void *(*fn)(void *arg), void *arg);

/* sockets.c: somebody beside who uses sockets and must get on; ports chosen on 127.0.0.1; a byte */
pid_t watch_start(void);
void watch_end(pid_t pid);
struct sockaddr_in;
int inet_bound(int type, struct sockaddr_in *a);
void exchange(const int sv[2]);

/* calls.c */
void case_calls(void);
void case_calls_user(void);
void case_abis(void);
void case_big_io(void);
void case_paths(void);
/* lane.c */
void case_lane_random(void);
void case_lane_words(void);
void case_lane_frame(void);
void case_stub_jump(void);
void case_stub_write(void);
void case_stub_unmap(void);
void case_stub_futex(void);
void case_mask_spin(void);
void case_queue(void);
void case_slot(void);
/* patched.c */
void case_patch_slots(void);
void case_patch_gs(void);
void case_patch_flight(void);
/* bombs.c */
void case_fork_bomb(void);
void case_thread_bomb(void);
void case_memory_bomb(void);
void case_fd_bomb(void);
void case_map_storm(void);
void case_epoll_nest(void);
void case_pipes(void);
void case_kill_others(void);
void case_timers(void);
void case_exec_storm(void);
void case_tmpfs_full(void);
void case_sockets(void);
/* sockets.c */
void case_socket_options(void);
void case_socket_vectors(void);
/* socketbombs.c */
void case_socket_cycles(void);
void case_socket_floods(void);
void case_socket_ports(void);
void case_socket_limit(void);
void case_socket_memory(void);

#endif
