/* SPDX-License-Identifier: Apache-2.0
 * sys_info.c - names of the system, memory in all, random bytes.
 *
 * Host: getrandom [sentry] */
#include <syscall/sys.h>

#include <linux/capability.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>

#include <base/err.h>
#include <base/fiber.h>
#include <host/memfile.h>
#include <mm/mm.h>

#define UTS_SYSNAME "Linux"
#define UTS_MACHINE "x86_64"

sysret_t sys_uname(struct call *c, uaddr_t buf)
{
    struct utsname u;
    memset(&u, 0, sizeof(u));
    strcpy(u.sysname, UTS_SYSNAME);
    strcpy(u.release, KERNEL_RELEASE);
    strcpy(u.version, KERNEL_VERSION);
    strcpy(u.machine, UTS_MACHINE);
    spin_lock(&g_kernel.lock);
    memcpy(u.nodename, g_kernel.hostname, sizeof(u.nodename));
    memcpy(u.domainname, g_kernel.domainname, sizeof(u.domainname));
    spin_unlock(&g_kernel.lock);
    return copy_out_obj(c->task->mm, buf, &u);
}

static sysret_t set_name(struct call *c, uaddr_t name, size_t len, char dst[65])
{
    char copy[65] = {0};
    if (!cred_capable(c->task->cred, CAP_SYS_ADMIN))
        return -EPERM;
    if (len > sizeof(copy) - 1)
        return -EINVAL;
    int err = copy_in(c->task->mm, copy, name, len);
    if (err)
        return err;
    spin_lock(&g_kernel.lock);
    memcpy(dst, copy, sizeof(copy));
    spin_unlock(&g_kernel.lock);
    return 0;
}

sysret_t sys_sethostname(struct call *c, uaddr_t name, size_t len)
{
    return set_name(c, name, len, g_kernel.hostname);
}

sysret_t sys_setdomainname(struct call *c, uaddr_t name, size_t len)
{
    return set_name(c, name, len, g_kernel.domainname);
}

sysret_t sys_sysinfo(struct call *c, uaddr_t info)
{
    struct sysinfo s;
    uint64_t total = g_kernel.host_memory_bytes, used = 0;
    memset(&s, 0, sizeof(s));
    if (g_kernel.memfile) {
        total = MIN(total, memfile_limit(g_kernel.memfile));
        used = memfile_used(g_kernel.memfile);
    }
    s.uptime = (clock_now_ns(CLOCK_MONOTONIC) - g_kernel.boot_monotonic_ns) / 1000000000;
    s.totalram = total;
    s.freeram = used < total ? total - used : 0;
    s.procs = (unsigned short)MIN(kernel_task_count(), 65535u);
    s.mem_unit = 1;
    return copy_out_obj(c->task->mm, info, &s);
}

#define RANDOM_MAX 33554431u /* as Linux cuts it */
#define RANDOM_AT_ONCE 1024u
#define RANDOM_YIELD 65536u /* let others run after so much */

sysret_t sys_getrandom(struct call *c, uaddr_t buf, size_t len, uint32_t flags)
{
    uint8_t bytes[RANDOM_AT_ONCE];
    size_t done = 0;
    if (flags & ~(uint32_t)(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE))
        return -EINVAL;
    if ((flags & GRND_RANDOM) && (flags & GRND_INSECURE))
        return -EINVAL;
    len = MIN(len, (size_t)RANDOM_MAX);
    while (done < len) {
        ssize_t n = getrandom(bytes, MIN(len - done, sizeof(bytes)), 0);
        if (n <= 0)
            return done ? (sysret_t)done : -EAGAIN;
        int err = copy_out(c->task->mm, uaddr_add(buf, done), bytes, (size_t)n);
        if (err)
            return done ? (sysret_t)done : err;
        done += (size_t)n;
        if (done % RANDOM_YIELD == 0 && done < len)
            fiber_yield();
    }
    return (sysret_t)done;
}
