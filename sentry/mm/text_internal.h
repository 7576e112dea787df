/* SPDX-License-Identifier: Apache-2.0
 * text_internal.h - what textcache.c (files, sites, images) and text.c (address spaces) share. */
#ifndef TEXT_INTERNAL_H
#define TEXT_INTERNAL_H

#include <mm/text.h>

#include "mm_internal.h"

#define TEXT_FILES_MAX 256u          /* files with known sites */
#define TEXT_SITES_MAX 2048u         /* of one file */
#define TEXT_BYTES_MAX (64ULL << 20) /* of all images kept; at most an eighth of the memory */
#define TEXT_AREA_MAX (64ULL << 10)  /* slots of one image: 1024 */
#define TEXT_WHOLE_MAX (4ULL << 20)  /* longer text has an image for each piece with sites */
#define TEXT_PIECE (2ULL << 20)
#define TEXT_MAPS_MAX 64u /* of one address space */
#define TEXT_NO_SLOT UINT16_MAX

/* A site that has trapped. */
struct text_known {
    uint64_t end;    /* file offset */
    uint8_t refused; /* mm_text_reason, or 0: it can be changed */
    bool applied;    /* in some image */
    uint32_t traps;  /* since it is known, where it was not changed */
    struct mm_text_site s;
};

/* The content of a file. All but refs: the cache's lock. */
struct text_file {
    struct list_head link; /* of the cache, latest use first */
    struct mappable_id id;
    unsigned refs; /* cache, mm_files, images */
    struct list_head images;
    struct text_known *sites;
    uint16_t *index; /* by hash of end: site + 1 */
    unsigned site_count, site_cap;
    uint32_t version; /* grows with each site that can be changed */
    uint64_t traps;
    bool cached;
};

/* Text of a file with changed sites, and their slots: two ranges of the memory file, mapped by any
 * number of address spaces, @delta bytes from each other. Guests only read them. */
struct text_image {
    struct list_head link; /* file->images */
    struct list_head lru;
    struct text_file *file; /* reference */
    unsigned refs;
    unsigned maps; /* in address spaces: threads may run it */
    bool cached;
    uint32_t gen;                          /* images before it in the same place */
    uint32_t version;                      /* of the file, when all its sites were tried last */
    uint64_t late_traps;                   /* of sites that wait for the next image */
    uint64_t off, len;                     /* of the file */
    uint64_t mem, mem_len, area, area_len; /* in the memory file */
    int64_t delta;
    unsigned slot_count;
    uint16_t *slot_of; /* by site */
    uint16_t *site_of; /* by slot */
    uint8_t *targets;  /* one bit a byte of text: a direct jump may lead here; NULL: not looked */
};

/* An image in an address space. */
struct text_map {
    struct list_head link; /* mm->text_maps */
    struct text_image *img;
    uint64_t start, area;
};

/* text.c */
struct text_map *text_map_at(const struct mm *mm, uint64_t addr); /* in its text; NULL */
void text_area_unmap(struct mm *mm, const struct text_map *m);
void text_map_bury(struct mm *mm, struct text_map *m);

/* textcache.c. One lock, below that of an address space. */
void text_lock(void);
void text_unlock(void);
const struct mm_text_ops *text_ops(void);
uint32_t text_after(void);
/* The rest with the lock held. */
struct text_file *text_file_find(const struct mappable_id *id, bool create); /* reference; NULL */
void text_file_put(struct text_file *f);
int text_site_find(const struct text_file *f, uint64_t end); /* -1 */
/* Learn the site from its file; its number, or -reason. [lo, hi): its segment in the file. */
int text_site_learn(struct text_file *f, struct mappable *m, uint64_t end, uint64_t lo, uint64_t hi,
                    const struct mm_text_call *call);
void text_site_refuse(struct text_known *k, int reason);
struct text_image *text_image_find(struct text_file *f, uint64_t off, uint64_t len, int64_t delta);
/* A new one, with all sites that are known, in the cache; reference. NULL: memory, limit. */
struct text_image *text_image_make(struct text_file *f, struct mappable *m, uint64_t off,
                                   uint64_t len, int64_t delta);
/* With what has been learned since, as far as that can be: perhaps another one. Takes and gives a
 * reference. */
struct text_image *text_image_renew(struct text_image *img, uint64_t late_max);
int text_image_apply(struct text_image *img, unsigned site); /* 0 or reason */
void text_image_get(struct text_image *img);
void text_image_put(struct text_image *img);

#endif
