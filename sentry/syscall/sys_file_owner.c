/* SPDX-License-Identifier: Apache-2.0
 * sys_file_owner.c - who is told by SIGIO and SIGURG: F_SETOWN, F_SETSIG, O_ASYNC, SIOCSPGRP. */
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <kernel/async.h>

#include "sys_path.h"

int async_switch(struct file *f, int fd, bool on)
{
    struct async_owner o;
    struct async *a = on ? file_async(f) : atomic_load(&f->async);
    if (IS_ERR(a))
        return PTR_ERR(a);
    if (!a)
        return 0;
    async_owner_get(a, &o);
    o.on = on && f->ops->async;
    o.fd = fd;
    async_owner_set(a, &o);
    return 0;
}

static int owner_exists(int32_t type, int32_t id)
{
    bool there = !id;
    if (type == ASYNC_GROUP) {
        there |= pgroup_exists(id);
    } else if (type == ASYNC_THREAD) {
        struct task *t = task_find(id);
        there |= t != NULL;
        task_put(t);
    } else {
        struct process *p = process_find(id);
        there |= p != NULL;
        process_put(p);
    }
    return there ? 0 : -ESRCH;
}

static sysret_t owner_set(struct task *t, struct file *f, int32_t type, int32_t id)
{
    struct async_owner o;
    int r = owner_exists(type, id);
    struct async *a = r ? ERR_PTR(r) : file_async(f);
    if (IS_ERR_OR_NULL(a))
        return PTR_ERR(a); /* nothing ever happens there: nobody will be told */
    async_owner_get(a, &o);
    o.type = type;
    o.id = id;
    o.uid = t->cred->uid;
    o.euid = t->cred->euid;
    async_owner_set(a, &o);
    return 0;
}

static sysret_t owner_set_number(struct task *t, struct file *f, int32_t number)
{
    if (number == INT32_MIN)
        return -EINVAL;
    return owner_set(t, f, number < 0 ? ASYNC_GROUP : ASYNC_PROCESS, number < 0 ? -number : number);
}

static struct async_owner owner_get(struct file *f)
{
    struct async_owner o = {.type = ASYNC_THREAD};
    struct async *a = atomic_load(&f->async);
    if (a)
        async_owner_get(a, &o);
    if (o.id && owner_exists(o.type, o.id))
        o.id = 0;
    return o;
}

static int32_t owner_number(struct file *f)
{
    struct async_owner o = owner_get(f);
    return o.type == ASYNC_GROUP ? -o.id : o.id;
}

static sysret_t signal_set(struct file *f, uint64_t signo)
{
    struct async_owner o;
    if (signo > NSIGNALS)
        return -EINVAL;
    struct async *a = file_async(f);
    if (IS_ERR_OR_NULL(a))
        return PTR_ERR(a);
    async_owner_get(a, &o);
    o.signo = (int32_t)signo;
    async_owner_set(a, &o);
    return 0;
}

sysret_t fcntl_owner(struct task *t, struct file *f, uint32_t cmd, uint64_t arg)
{
    static const int32_t types[] = {
        [F_OWNER_TID] = ASYNC_THREAD, [F_OWNER_PID] = ASYNC_PROCESS, [F_OWNER_PGRP] = ASYNC_GROUP};
    struct f_owner_ex ex;
    struct async_owner o;
    switch (cmd) {
    case F_SETOWN:
        return owner_set_number(t, f, (int32_t)arg);
    case F_GETOWN:
        return owner_number(f);
    case F_SETSIG:
        return signal_set(f, arg);
    case F_GETSIG:
        return owner_get(f).signo;
    case F_SETOWN_EX:
        if (copy_in_obj(t->mm, &ex, UADDR(arg)) < 0)
            return -EFAULT;
        if (ex.type != F_OWNER_TID && ex.type != F_OWNER_PID && ex.type != F_OWNER_PGRP)
            return -EINVAL;
        return owner_set(t, f, types[ex.type], ex.pid);
    default: /* F_GETOWN_EX */
        o = owner_get(f);
        ex.type = o.type == ASYNC_THREAD    ? F_OWNER_TID
                  : o.type == ASYNC_PROCESS ? F_OWNER_PID
                                            : F_OWNER_PGRP;
        ex.pid = o.id;
        return copy_out_obj(t->mm, UADDR(arg), &ex);
    }
}

sysret_t ioctl_owner(struct task *t, struct file *f, uint32_t cmd, uint64_t arg)
{
    int32_t number;
    if (cmd == FIOGETOWN || cmd == SIOCGPGRP) {
        number = owner_number(f);
        return copy_out_obj(t->mm, UADDR(arg), &number);
    }
    return copy_in_obj(t->mm, &number, UADDR(arg)) ? -EFAULT : owner_set_number(t, f, number);
}
