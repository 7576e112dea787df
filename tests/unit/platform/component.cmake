# SPDX-License-Identifier: Apache-2.0
add_unit_test(trap_filter_test ${CMAKE_CURRENT_LIST_DIR}/trap_filter_test.c trap)
foreach(name trap_live_test trap_hostile_test trap_reuse_test)
    add_unit_test(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c trap)
    target_sources(${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/trap_guest.S)
endforeach()
# The same on the other platform.
foreach(name live hostile reuse)
    add_unit_test(ptrace_${name}_test ${CMAKE_CURRENT_LIST_DIR}/trap_${name}_test.c ptrace)
    target_sources(ptrace_${name}_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/trap_guest.S)
    target_compile_definitions(ptrace_${name}_test PRIVATE WORLD_PTRACE=1)
endforeach()
