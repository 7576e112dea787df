# SPDX-License-Identifier: Apache-2.0
add_component(vfs sentry/vfs
    SOURCES dentry.c fdtable.c file.c inode.c locks.c modify.c mount.c notify.c open.c pathname.c stat.c unveil.c walk.c
    USES kernel)
