/* SPDX-License-Identifier: Apache-2.0
 * sys_cred.c - user and group ids, supplementary groups, capabilities, as credentials(7) and
 * capabilities(7) have them. A change makes a new struct cred and replaces the task's. */
#include <syscall/sys.h>

#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>

#include <base/err.h>
#include <mm/mm.h>

#define ID_NONE UINT32_MAX /* "leave it" */

sysret_t sys_getuid(struct call *c)
{
    return c->task->cred->uid;
}

sysret_t sys_geteuid(struct call *c)
{
    return c->task->cred->euid;
}

sysret_t sys_getgid(struct call *c)
{
    return c->task->cred->gid;
}

sysret_t sys_getegid(struct call *c)
{
    return c->task->cred->egid;
}

static sysret_t put_three(struct call *c, uaddr_t a, uaddr_t b, uaddr_t d, const uint32_t v[3])
{
    struct mm *mm = c->task->mm;
    int err = copy_out_obj(mm, a, &v[0]);
    if (!err)
        err = copy_out_obj(mm, b, &v[1]);
    return err ? err : copy_out_obj(mm, d, &v[2]);
}

sysret_t sys_getresuid(struct call *c, uaddr_t ruid, uaddr_t euid, uaddr_t suid)
{
    const struct cred *cr = c->task->cred;
    return put_three(c, ruid, euid, suid, (uint32_t[]){cr->uid, cr->euid, cr->suid});
}

sysret_t sys_getresgid(struct call *c, uaddr_t rgid, uaddr_t egid, uaddr_t sgid)
{
    const struct cred *cr = c->task->cred;
    return put_three(c, rgid, egid, sgid, (uint32_t[]){cr->gid, cr->egid, cr->sgid});
}

/* --- changing --- */

/* What leaving or becoming uid 0 does to capabilities. */
static void cred_fix_capabilities(const struct cred *old, struct cred *n, bool keep)
{
    bool was_root = old->uid == 0 || old->euid == 0 || old->suid == 0;
    if (was_root && n->uid && n->euid && n->suid) {
        if (!keep)
            n->cap_permitted = n->cap_effective = 0;
        n->cap_ambient = 0;
    }
    if (old->euid == 0 && n->euid)
        n->cap_effective = 0;
    if (old->euid && n->euid == 0)
        n->cap_effective = n->cap_permitted;
}

static sysret_t cred_publish(struct call *c, struct cred *n)
{
    struct task *t = c->task;
    const struct cred *old = t->cred;
    if (n->euid != old->euid || n->egid != old->egid || n->fsuid != old->fsuid ||
        n->fsgid != old->fsgid) {
        t->process->dumpable = false;
        t->pdeath_signal = 0;
    }
    cred_fix_capabilities(old, n, t->keep_caps);
    task_cred_set(t, n);
    return 0;
}

/* real, effective, saved of one kind; the same rules serve users and groups. */
struct ids {
    uint32_t r, e, s;
};

static bool ids_have(const struct ids *i, uint32_t id)
{
    return id == ID_NONE || id == i->r || id == i->e || id == i->s;
}

static int ids_set(const struct ids *old, struct ids *n, bool capable, uint32_t id)
{
    if (id == ID_NONE)
        return -EINVAL;
    *n = *old;
    if (capable)
        n->r = n->s = id;
    else if (id != old->r && id != old->s)
        return -EPERM;
    n->e = id;
    return 0;
}

static int ids_set_re(const struct ids *old, struct ids *n, bool capable, uint32_t r, uint32_t e)
{
    *n = *old;
    if (r != ID_NONE) {
        if (!capable && r != old->r && r != old->e)
            return -EPERM;
        n->r = r;
    }
    if (e != ID_NONE) {
        if (!capable && !ids_have(old, e))
            return -EPERM;
        n->e = e;
    }
    if (r != ID_NONE || (e != ID_NONE && e != old->r))
        n->s = n->e;
    return 0;
}

static int ids_set_res(const struct ids *old, struct ids *n, bool capable, uint32_t r, uint32_t e,
                       uint32_t s)
{
    if (!capable && !(ids_have(old, r) && ids_have(old, e) && ids_have(old, s)))
        return -EPERM;
    *n = (struct ids){r == ID_NONE ? old->r : r, e == ID_NONE ? old->e : e,
                      s == ID_NONE ? old->s : s};
    return 0;
}

static sysret_t commit_uids(struct call *c, int err, const struct ids *ids)
{
    struct cred *n = err ? NULL : cred_dup(c->task->cred);
    if (!n)
        return err ? err : -ENOMEM;
    n->uid = ids->r;
    n->euid = n->fsuid = ids->e;
    n->suid = ids->s;
    return cred_publish(c, n);
}

static sysret_t commit_gids(struct call *c, int err, const struct ids *ids)
{
    struct cred *n = err ? NULL : cred_dup(c->task->cred);
    if (!n)
        return err ? err : -ENOMEM;
    n->gid = ids->r;
    n->egid = n->fsgid = ids->e;
    n->sgid = ids->s;
    return cred_publish(c, n);
}

static struct ids uids_of(const struct call *c)
{
    const struct cred *cr = c->task->cred;
    return (struct ids){cr->uid, cr->euid, cr->suid};
}

static struct ids gids_of(const struct call *c)
{
    const struct cred *cr = c->task->cred;
    return (struct ids){cr->gid, cr->egid, cr->sgid};
}

static bool may_setuid(const struct call *c)
{
    return cred_capable(c->task->cred, CAP_SETUID);
}

static bool may_setgid(const struct call *c)
{
    return cred_capable(c->task->cred, CAP_SETGID);
}

sysret_t sys_setuid(struct call *c, uint32_t uid)
{
    struct ids old = uids_of(c), n;
    int err = ids_set(&old, &n, may_setuid(c), uid);
    return commit_uids(c, err, &n);
}

sysret_t sys_setgid(struct call *c, uint32_t gid)
{
    struct ids old = gids_of(c), n;
    int err = ids_set(&old, &n, may_setgid(c), gid);
    return commit_gids(c, err, &n);
}

sysret_t sys_setreuid(struct call *c, uint32_t ruid, uint32_t euid)
{
    struct ids old = uids_of(c), n;
    int err = ids_set_re(&old, &n, may_setuid(c), ruid, euid);
    return commit_uids(c, err, &n);
}

sysret_t sys_setregid(struct call *c, uint32_t rgid, uint32_t egid)
{
    struct ids old = gids_of(c), n;
    int err = ids_set_re(&old, &n, may_setgid(c), rgid, egid);
    return commit_gids(c, err, &n);
}

sysret_t sys_setresuid(struct call *c, uint32_t ruid, uint32_t euid, uint32_t suid)
{
    struct ids old = uids_of(c), n;
    int err = ids_set_res(&old, &n, may_setuid(c), ruid, euid, suid);
    return commit_uids(c, err, &n);
}

sysret_t sys_setresgid(struct call *c, uint32_t rgid, uint32_t egid, uint32_t sgid)
{
    struct ids old = gids_of(c), n;
    int err = ids_set_res(&old, &n, may_setgid(c), rgid, egid, sgid);
    return commit_gids(c, err, &n);
}

/* These two report the old id and no error. */
sysret_t sys_setfsuid(struct call *c, uint32_t uid)
{
    const struct cred *cr = c->task->cred;
    struct ids ids = uids_of(c);
    uint32_t old = cr->fsuid;
    if (uid == old || uid == ID_NONE || !(may_setuid(c) || ids_have(&ids, uid)))
        return old;
    struct cred *n = cred_dup(cr);
    if (n) {
        n->fsuid = uid;
        (void)cred_publish(c, n);
    }
    return old;
}

sysret_t sys_setfsgid(struct call *c, uint32_t gid)
{
    const struct cred *cr = c->task->cred;
    struct ids ids = gids_of(c);
    uint32_t old = cr->fsgid;
    if (gid == old || gid == ID_NONE || !(may_setgid(c) || ids_have(&ids, gid)))
        return old;
    struct cred *n = cred_dup(cr);
    if (n) {
        n->fsgid = gid;
        (void)cred_publish(c, n);
    }
    return old;
}

/* --- groups --- */

sysret_t sys_getgroups(struct call *c, int32_t size, uaddr_t list)
{
    const struct cred *cr = c->task->cred;
    if (size < 0)
        return -EINVAL;
    if (size) {
        if ((uint32_t)size < cr->group_count)
            return -EINVAL;
        int err = copy_out(c->task->mm, list, cr->groups, cr->group_count * sizeof(cr->groups[0]));
        if (err)
            return err;
    }
    return cr->group_count;
}

sysret_t sys_setgroups(struct call *c, int32_t size, uaddr_t list)
{
    const struct cred *old = c->task->cred;
    if (!may_setgid(c))
        return -EPERM;
    if (size < 0 || size > NGROUPS_LIMIT)
        return -EINVAL;
    autofree uint32_t *groups = calloc((size_t)size + 1, sizeof(*groups));
    if (!groups)
        return -ENOMEM;
    int err = copy_in(c->task->mm, groups, list, (size_t)size * sizeof(*groups));
    if (err)
        return err;
    struct cred *n = cred_new(old->uid, old->gid, groups, (uint32_t)size);
    if (!n)
        return -ENOMEM;
    struct refcount ref = n->ref;
    memcpy(n, old, offsetof(struct cred, group_count));
    n->ref = ref;
    task_cred_set(c->task, n);
    return 0;
}

/* --- capabilities --- */

/* How many 32-bit sets the version has. -EINVAL, the right version written back: not known. */
static int cap_header(struct call *c, uaddr_t uheader, struct __user_cap_header_struct *h,
                      unsigned *ret_sets)
{
    int err = copy_in_obj(c->task->mm, h, uheader);
    if (err)
        return err;
    switch (h->version) {
    case _LINUX_CAPABILITY_VERSION_1:
        *ret_sets = _LINUX_CAPABILITY_U32S_1;
        return 0;
    case _LINUX_CAPABILITY_VERSION_2:
    case _LINUX_CAPABILITY_VERSION_3:
        *ret_sets = _LINUX_CAPABILITY_U32S_3;
        return 0;
    default:
        h->version = _LINUX_CAPABILITY_VERSION_3;
        err = copy_out(c->task->mm, uheader, &h->version, sizeof(h->version));
        return err ? err : -EINVAL;
    }
}

sysret_t sys_capget(struct call *c, uaddr_t header, uaddr_t data)
{
    struct __user_cap_header_struct h;
    struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3];
    unsigned sets;
    int err = cap_header(c, header, &h, &sets);
    if (err)
        return err == -EINVAL && uaddr_null(data) ? 0 : err; /* a question for the version */
    if (h.pid < 0)
        return -EINVAL;
    if (uaddr_null(data))
        return 0;
    struct task *t AUTO_PUT(task) = h.pid ? task_find(h.pid) : task_get(c->task);
    if (!t)
        return -ESRCH;
    struct cred *cr = task_cred_get(t);
    for (unsigned i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        d[i].effective = (uint32_t)(cr->cap_effective >> 32 * i);
        d[i].permitted = (uint32_t)(cr->cap_permitted >> 32 * i);
        d[i].inheritable = (uint32_t)(cr->cap_inheritable >> 32 * i);
    }
    cred_put(cr);
    return copy_out(c->task->mm, data, d, sets * sizeof(d[0]));
}

sysret_t sys_capset(struct call *c, uaddr_t header, uaddr_t data)
{
    struct __user_cap_header_struct h;
    struct __user_cap_data_struct d[_LINUX_CAPABILITY_U32S_3] = {0};
    const struct cred *old = c->task->cred;
    uint64_t effective = 0, permitted = 0, inheritable = 0;
    unsigned sets;
    int err = cap_header(c, header, &h, &sets);
    if (err)
        return err;
    if (h.pid && h.pid != c->task->tid)
        return -EPERM;
    err = copy_in(c->task->mm, d, data, sets * sizeof(d[0]));
    if (err)
        return err;
    for (unsigned i = 0; i < sets && i < ARRAY_SIZE(d); i++) {
        effective |= (uint64_t)d[i].effective << 32 * i;
        permitted |= (uint64_t)d[i].permitted << 32 * i;
        inheritable |= (uint64_t)d[i].inheritable << 32 * i;
    }
    const uint64_t known = (2ULL << CAP_LAST_CAP) - 1;
    effective &= known;
    permitted &= known;
    inheritable &= known;
    bool setpcap = cred_capable(old, CAP_SETPCAP);
    if (!setpcap && (inheritable & ~(old->cap_inheritable | old->cap_permitted)))
        return -EPERM;
    if (inheritable & ~(old->cap_inheritable | old->cap_bounding))
        return -EPERM;
    if ((permitted & ~old->cap_permitted) || (effective & ~permitted))
        return -EPERM;
    struct cred *n = cred_dup(old);
    if (!n)
        return -ENOMEM;
    n->cap_effective = effective;
    n->cap_permitted = permitted;
    n->cap_inheritable = inheritable;
    n->cap_ambient &= permitted & inheritable;
    task_cred_set(c->task, n);
    return 0;
}
