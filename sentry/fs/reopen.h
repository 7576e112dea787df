/* SPDX-License-Identifier: Apache-2.0
 * reopen.h - a place for open files that have none, so that links can lead to them. */
#ifndef FS_REOPEN_H
#define FS_REOPEN_H

#include <vfs/vfs.h>

/* At boot: the internal mount. 0, -ENOMEM. */
int reopen_init(void);
/* A path (with references) whose open() is f->ops->reopen and whose attributes are the file's.
 * -ENXIO when the kind of file cannot be opened again, -ENOMEM. */
int reopen_path(struct file *f, struct path *ret);

#endif
