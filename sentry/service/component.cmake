# SPDX-License-Identifier: Apache-2.0
add_component(service sentry/service SOURCES poller.c policy.c place.c watch.c served.c posted.c sq.c trace.c stats.c control.c attach.c exec.c exec_args.c command.c boot.c boot_mounts.c patch.c USES syscall patch)
