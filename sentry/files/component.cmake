# SPDX-License-Identifier: Apache-2.0
add_component(files sentry/files
    SOURCES anon.c epoll.c epoll_ready.c eventfd.c fifo.c host_tty.c hostfile.c inotify.c mqueue.c pipe.c pipe_packet.c signalfd.c socket_core.c splice.c
        pty.c pty_master.c pty_slave.c timerfd.c tty_input.c tty_ioctl.c tty_job.c tty_output.c
        unix.c unix_fds.c unix_list.c unix_message.c unix_name.c unix_option.c unix_stream.c
    USES vfs)
