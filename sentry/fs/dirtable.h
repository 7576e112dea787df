/* SPDX-License-Identifier: Apache-2.0
 * dirtable.h - names of an in-memory directory: hash lookup, and cookies for readdir that stay
 * valid while names come and go. Shared by tmpfs and the overlay. The owner locks. */
#ifndef FS_DIRTABLE_H
#define FS_DIRTABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inode;

struct dir_entry {
    struct dir_entry *next; /* bucket */
    uint64_t hash;
    int64_t cookie;      /* grows with each insertion; first 3 */
    struct inode *inode; /* the owner's reference; NULL: a whiteout */
    uint16_t len;
    bool over_lower; /* overlay: the lower directory has the name too */
    char name[];     /* not NUL-terminated */
};

struct dirtable {
    struct dir_entry **buckets; /* power of two */
    uint32_t bucket_count, count;
    struct dir_slot *order; /* by cookie; removed entries leave empty slots */
    uint32_t slots, slot_capacity;
    int64_t next_cookie;
};
#define DIR_FIRST_COOKIE 3 /* behind "." and ".." */

void dirtable_free(struct dirtable *t); /* must be empty of what needs releasing */
struct dir_entry *dirtable_find(struct dirtable *t, const char *name, size_t len);
/* The name must not be there. 0, -ENOMEM. Stores @inode as it is. */
int dirtable_insert(struct dirtable *t, const char *name, size_t len, struct inode *inode);
/* The same, giving the entry; NULL: no memory. */
struct dir_entry *dirtable_add(struct dirtable *t, const char *name, size_t len,
                               struct inode *inode);
void dirtable_remove(struct dirtable *t, struct dir_entry *e);
/* First entry with cookie >= @cookie, NULL at the end. */
struct dir_entry *dirtable_next(struct dirtable *t, int64_t cookie);

#endif
