/* SPDX-License-Identifier: Apache-2.0
 * fake.h - a platform that carries out memory operations in the test process itself: each address
 * space is a reserved piece of the test's own, guest address A at base + A. Guest accesses are real
 * accesses whose faults go to mm_fault() as a backend's would. */
#ifndef MM_TEST_FAKE_H
#define MM_TEST_FAKE_H

#include <host/memfile.h>
#include <mm/mm.h>

#define GUEST_MIN 0x10000ULL
#define GUEST_MAX (1ULL << 36)

struct fake_counts {
    unsigned long lists, ops, maps, unmaps, protects, faults, donated, alive;
};
extern struct fake_counts fake;
extern struct memfile *fake_mf;
/* Fail the nth PF_MAP from now with -ENOMEM (0: never). */
extern unsigned long fake_fail_map;

void fake_handlers(void);              /* again, in each test: cmocka sets its own */
void fake_setup(uint64_t limit_bytes); /* mm_init with the fake platform */

/* Guest accesses. 0, or the signal it ends with (negative: mm_fault's -ENOMEM). */
int guest_read(struct mm *mm, uint64_t addr, uint8_t *ret);
int guest_write(struct mm *mm, uint64_t addr, uint8_t value);
/* The host mapping as it is; a signal if it does not allow reading. */
int guest_peek(struct mm *mm, uint64_t addr, uint64_t *ret);
int guest_read64(struct mm *mm, uint64_t addr, uint64_t *ret);
int guest_write64(struct mm *mm, uint64_t addr, uint64_t value);
/* What the stub does with a self op. */
void guest_self(struct mm *mm, const struct mm_self *self);

/* A file of @pages pages, page i filled with byte i+1: mapped by descriptor or by pages. */
struct fake_file {
    struct mappable m;
    int fd, refs;
    bool by_page, read_only;
    uint64_t size, off, capacity;
    uint64_t ino;
    int64_t version; /* of its content */
};
void fake_file_write(struct fake_file *f, uint64_t off, const void *bytes, uint64_t len);
struct fake_file *fake_file_new(uint64_t pages, bool by_page);
void fake_file_truncate(struct fake_file *f, uint64_t size);
void fake_file_put(struct fake_file *f);

int64_t map_anon(struct mm *mm, uint64_t addr, uint64_t len, uint32_t prot, uint32_t flags);
int64_t map_file(struct mm *mm, struct fake_file *f, uint64_t addr, uint64_t len, uint32_t prot,
                 uint32_t flags, uint64_t off);

#endif
