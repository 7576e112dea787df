/* SPDX-License-Identifier: Apache-2.0
 * fdtable.h - descriptor tables. */
#ifndef VFS_FDTABLE_H
#define VFS_FDTABLE_H

#include <vfs/file.h>

struct fdtable;
#define FDTABLE_MAX (1 << 20) /* descriptors of a process; RLIMIT_NOFILE lowers it */

struct fdtable *fdtable_new(void);
struct fdtable *fdtable_copy(struct fdtable *t);
struct fdtable *fdtable_get(struct fdtable *t);
void fdtable_put(struct fdtable *t); /* last: closes everything; may park */
/* The table, alone: a copy if shared (unshare, exec). */
int fdtable_unshare(struct fdtable **t);

/* Reference to the open file, ERR_PTR(-EBADF). O_PATH files too: fd_file refuses those. */
struct file *fdtable_file(struct fdtable *t, int fd);
struct file *fd_file(struct task *t, int fd);
/* Lowest free descriptor >= min; takes its own reference. flags: O_CLOEXEC. Returns fd, -EMFILE,
 * -ENOMEM. Limit from t's RLIMIT_NOFILE. */
int fd_install(struct task *t, struct file *f, uint32_t flags, int min);
/* Would fd_install() and file_new() now succeed? 0, -EMFILE, -ENFILE, -ENOMEM. */
int fd_room(struct task *t);
/* dup2 semantics: replaces fd; the old file is returned in *ret_old for the caller to put (NULL
 * none). */
int fd_install_at(struct task *t, int fd, struct file *f, uint32_t flags, struct file **ret_old);
int fd_close(struct task *t, int fd); /* flush and put: 0, -EBADF; may park */
int fd_get_cloexec(struct task *t, int fd);
int fd_set_cloexec(struct task *t, int fd, bool on);
void fdtable_close_on_exec(struct fdtable *t, struct task *task);
/* Close (or mark CLOEXEC) a range: close_range. */
int fdtable_close_range(struct task *t, uint32_t first, uint32_t last, bool cloexec_only);
/* Next open descriptor > after, with reference; -1 at the end. For /proc. */
int fdtable_next(struct fdtable *tab, int after, struct file **ret);
/* Reserve two and install (pipe, socketpair): both or neither. */
int fd_install_pair(struct task *t, struct file *a, struct file *b, uint32_t flags, int ret_fds[2]);
uint32_t fdtable_count(struct fdtable *t);

#endif
