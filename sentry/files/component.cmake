# SPDX-License-Identifier: Apache-2.0
add_component(files sentry/files
    SOURCES anon.c epoll.c eventfd.c fifo.c host_tty.c hostfile.c inotify.c pipe.c signalfd.c socket_core.c socket_name.c socket_opt.c socketpair.c
        timerfd.c
    USES vfs)
