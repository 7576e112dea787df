# SPDX-License-Identifier: Apache-2.0
add_component(trap platform/trap
    SOURCES trap.c template.c filter.c notify.c space.c pool.c thread.c event.c
    USES base host ring guestlib stubs)
