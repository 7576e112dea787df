/* SPDX-License-Identifier: Apache-2.0
 * filter.h - the two seccomp filters, built from one table. */
#ifndef TRAP_FILTER_H
#define TRAP_FILTER_H

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* The mapper's filter is installed first and lies under the guest's, so it answers nothing stronger
 * than TRAP and allows every number that the guest's allows. */
enum trap_filter { TRAP_FILTER_GUEST, TRAP_FILTER_MAPPER };

#define TRAP_FILTER_MAX 256

/**
 * trap_filter_build - BPF program of a filter.
 * @out: room for TRAP_FILTER_MAX instructions
 * @ip: guest address behind the instruction that may notify: the mapper's, or where guest threads
 *   park
 * Return: instructions written.
 */
size_t trap_filter_build(enum trap_filter which, uint64_t ip, struct sock_filter *out);

/* Readable, one line a row. Return: lines. */
int trap_filter_print(FILE *out);

#endif
