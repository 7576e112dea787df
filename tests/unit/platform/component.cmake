# SPDX-License-Identifier: Apache-2.0
add_unit_test(trap_filter_test ${CMAKE_CURRENT_LIST_DIR}/trap_filter_test.c trap)
foreach(name trap_live_test trap_hostile_test trap_reuse_test trap_dirty_test)
    add_unit_test(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c trap)
    target_sources(${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/trap_guest.S)
endforeach()
