# SPDX-License-Identifier: Apache-2.0
file(GLOB SYSCALL_SOURCES RELATIVE ${CMAKE_CURRENT_LIST_DIR} CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.c)
add_component(syscall sentry/syscall SOURCES ${SYSCALL_SOURCES} USES fs files net elf)
# table.c and sys.h include table.def from this folder
target_include_directories(syscall PUBLIC ${CMAKE_CURRENT_LIST_DIR})
