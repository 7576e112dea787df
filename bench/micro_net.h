/* SPDX-License-Identifier: Apache-2.0
 * micro_net.h - the cases of micro_net.c, for micro.c's table. */
#ifndef MICRO_NET_H
#define MICRO_NET_H

double bench_unix_threads(const char *arg);
double bench_unix_processes(const char *arg);
double bench_tcp_threads(const char *arg);
double bench_tcp_processes(const char *arg);
double bench_unix_stream(const char *arg);
double bench_tcp_stream(const char *arg);
double bench_tcp_connect(const char *arg);

#endif
