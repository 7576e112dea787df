# SPDX-License-Identifier: Apache-2.0
# The seccomp lists come from the Host: declarations of every file that may run confined.
option(RINGBOX_SECCOMP_TRAP "report a call outside the list before dying (on in test builds)" ON)
file(GLOB_RECURSE ISOLATE_DECLARERS CONFIGURE_DEPENDS
    ${CMAKE_SOURCE_DIR}/platform/*.c ${CMAKE_SOURCE_DIR}/sentry/*.c ${CMAKE_SOURCE_DIR}/gofer/*.c)
set(ISOLATE_LISTS ${CMAKE_BINARY_DIR}/isolate/isolate_lists.h)
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/isolate)
add_custom_command(
    OUTPUT ${ISOLATE_LISTS}.stamp
    BYPRODUCTS ${ISOLATE_LISTS}
    COMMAND awk -f ${CMAKE_SOURCE_DIR}/platform/isolate/lists.awk ${ISOLATE_DECLARERS} > ${ISOLATE_LISTS}.new
    COMMAND ${CMAKE_COMMAND} -E copy_if_different ${ISOLATE_LISTS}.new ${ISOLATE_LISTS}
    COMMAND ${CMAKE_COMMAND} -E touch ${ISOLATE_LISTS}.stamp
    DEPENDS ${ISOLATE_DECLARERS} ${CMAKE_SOURCE_DIR}/platform/isolate/lists.awk
    COMMENT "seccomp lists"
    VERBATIM)
add_custom_target(isolate_lists DEPENDS ${ISOLATE_LISTS}.stamp)
add_component(isolate platform/isolate SOURCES namespaces.c confine.c landlock.c USES base)
add_dependencies(isolate isolate_lists)
target_include_directories(isolate PRIVATE ${CMAKE_BINARY_DIR}/isolate)
target_link_libraries(isolate PRIVATE PkgConfig::LIBSECCOMP)
if(RINGBOX_SECCOMP_TRAP)
    target_compile_definitions(isolate PRIVATE RINGBOX_SECCOMP_TRAP=1)
endif()
