# SPDX-License-Identifier: Apache-2.0
add_component(ptrace platform/ptrace
    SOURCES ptrace.c tracer.c tracee.c space.c thread.c event.c fds.c wait.S
    USES base host ring guestlib stubs)
