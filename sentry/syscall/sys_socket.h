/* SPDX-License-Identifier: Apache-2.0
 * sys_socket.h - what the socket calls share. */
#ifndef SYSCALL_SYS_SOCKET_H
#define SYSCALL_SYS_SOCKET_H

#include <sys/socket.h>

#include <files/files.h>
#include <syscall/sys.h>

/* The descriptor's file, a reference; ERR_PTR(-EBADF, -ENOTSOCK). */
struct file *socket_file(struct task *t, int fd);
/* The same, if the process may use its family: ERR_PTR(-EPERM) else. */
struct file *socket_file_promised(struct task *t, int fd);
/* An address of the guest, copied once, zeros behind it. -EINVAL, -EFAULT. */
int socket_address_in(struct task *t, uaddr_t addr, uint32_t len, struct sockaddr_storage *ret);
/* @len bytes of @ss as far as the guest has room; their full length. -EFAULT, -EINVAL. */
int socket_address_out(struct mm *mm, const struct sockaddr_storage *ss, uint32_t len, uaddr_t addr,
                       uaddr_t addrlen);
/* Wait for @mask within SO_RCVTIMEO or (@mask POLLOUT) SO_SNDTIMEO: SYS_PARK, -EAGAIN when that has
 * passed, an error of the wait. @one: the caller takes what comes (call_wait_file_one). */
sysret_t socket_wait(struct call *c, struct file *f, uint32_t mask, bool one);

#endif
