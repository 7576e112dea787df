/* SPDX-License-Identifier: Apache-2.0
 * cred.c - credentials: immutable once published, replaced as a whole under process->lock.
 *
 * They mean something inside the sandbox only. Uid 0 starts with all capabilities, others with
 * none. No user namespaces.
 */
#include "task_internal.h"

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>

#define CAP_ALL ((2ULL << CAP_LAST_CAP) - 1)

static int compare_gid(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

struct cred *cred_new(uint32_t uid, uint32_t gid, const uint32_t *groups, uint32_t count)
{
    if (count > NGROUPS_LIMIT)
        return NULL;
    struct cred *c = calloc(1, sizeof(*c) + count * sizeof(groups[0]));
    if (!c)
        return NULL;
    refcount_init(&c->ref);
    c->uid = c->euid = c->suid = c->fsuid = uid;
    c->gid = c->egid = c->sgid = c->fsgid = gid;
    c->cap_bounding = CAP_ALL;
    if (uid == 0)
        c->cap_permitted = c->cap_effective = CAP_ALL;
    c->group_count = count;
    if (count) {
        memcpy(c->groups, groups, count * sizeof(groups[0]));
        qsort(c->groups, count, sizeof(c->groups[0]), compare_gid);
    }
    return c;
}

struct cred *cred_dup(const struct cred *c)
{
    size_t size = sizeof(*c) + c->group_count * sizeof(c->groups[0]);
    struct cred *n = malloc(size);
    if (!n)
        return NULL;
    /* Not the count: others take and drop references meanwhile. */
    memcpy((char *)n + sizeof(n->ref), (const char *)c + sizeof(c->ref), size - sizeof(c->ref));
    refcount_init(&n->ref);
    return n;
}

struct cred *cred_get(struct cred *c)
{
    refcount_get(&c->ref);
    return c;
}

void cred_put(struct cred *c)
{
    if (!IS_ERR_OR_NULL(c) && refcount_put(&c->ref))
        free(c);
}

bool cred_in_group(const struct cred *c, uint32_t gid)
{
    if (c->fsgid == gid)
        return true;
    return c->group_count &&
           bsearch(&gid, c->groups, c->group_count, sizeof(c->groups[0]), compare_gid);
}

bool cred_capable(const struct cred *c, int cap)
{
    return cap >= 0 && cap <= CAP_LAST_CAP && (c->cap_effective & (1ULL << cap));
}

struct cred *task_cred_get(struct task *t)
{
    spin_lock(&t->process->lock);
    struct cred *c = cred_get(t->cred);
    spin_unlock(&t->process->lock);
    return c;
}

void task_cred_set(struct task *t, struct cred *c)
{
    spin_lock(&t->process->lock);
    struct cred *old = t->cred;
    t->cred = c;
    task_ident_cred_locked(t);
    spin_unlock(&t->process->lock);
    cred_put(old);
}
