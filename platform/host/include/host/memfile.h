/* SPDX-License-Identifier: Apache-2.0
 * memfile.h - the memory file: one sparse file that holds all guest memory of a sandbox.
 *
 * On a private tmpfs mount (huge=advise, size=LIMIT: a hard limit) or a memfd where that fails.
 * The Sentry maps it linearly once, so offset to pointer is one addition. Touching a page beyond
 * the limit raises SIGBUS in whoever touches it.
 */
#ifndef HOST_MEMFILE_H
#define HOST_MEMFILE_H

#include <stdbool.h>

#include <base/compiler.h>

struct memfile;

#define MEMFILE_ANY UINT64_MAX /* no congruence asked */

/**
 * memfile_create - before confinement (mounts a tmpfs when it may).
 * @limit_bytes: most memory ever held; 0 = three quarters of the host's
 * Return: 0, -ENOMEM, -EMFILE.
 */
int memfile_create(uint64_t limit_bytes, struct memfile **ret);
void memfile_destroy(struct memfile *mf);
int memfile_fd(const struct memfile *mf);

/**
 * memfile_alloc - reserve @len bytes (page multiple) of file range, all holes (read as zero).
 * @congruent_to: the offset returned is equal to this modulo 2 MiB, or MEMFILE_ANY
 * Return: 0, -ENOMEM when the file's address range is used up. Thread-safe.
 */
int memfile_alloc(struct memfile *mf, uint64_t len, uint64_t congruent_to, uint64_t *ret_off);

/**
 * memfile_free - give a range back; its pages are punched out before it can be handed out again.
 * Any sub-range of an allocation. No address space may map it any more. Thread-safe.
 */
void memfile_free(struct memfile *mf, uint64_t off, uint64_t len);

/* Punch pages out (they read as zero again) but keep the range. */
void memfile_decommit(struct memfile *mf, uint64_t off, uint64_t len);

/* Fault pages into the Sentry's own mapping in one host call, writable. 0 or -ENOMEM. */
int memfile_populate(struct memfile *mf, uint64_t off, uint64_t len);

/**
 * memfile_want_huge - let faults and memfile_populate() in the Sentry's mapping of the range take
 * 2 MiB pages where they fit. A hint; costs the Sentry a host mapping per separate range. (A guest
 * mapping asks for itself, with PF_ADVISE.)
 */
void memfile_want_huge(struct memfile *mf, uint64_t off, uint64_t len);

/**
 * memfile_populate_huge - the same for one 2 MiB-aligned block that holds nothing yet, with one
 * 2 MiB page if the host has one (about a tenth of the time of small pages). The Sentry's mapping
 * stays one mapping. Safe against other threads that use the block.
 */
int memfile_populate_huge(struct memfile *mf, uint64_t off);

/**
 * memfile_write - copy into the file without mapping it: cheaper than populating and copying where
 * the Sentry does not look at the bytes again. @src may be memory of the file. 0, or -ENOMEM.
 */
int memfile_write(struct memfile *mf, uint64_t off, const void *src, uint64_t len);

/* The Sentry's address of an offset; valid for the file's life. Never fails. */
void *memfile_ptr(const struct memfile *mf, uint64_t off);

uint64_t memfile_limit(const struct memfile *mf);
/* False with the memfd fallback: then nothing but the host's memory enforces the limit. */
bool memfile_limit_is_hard(const struct memfile *mf);
/* Bytes of memory held now (st_blocks). One host call. */
uint64_t memfile_used(const struct memfile *mf);

#endif
