# SPDX-License-Identifier: Apache-2.0
add_unit_test(trap_filter_test ${CMAKE_CURRENT_LIST_DIR}/trap_filter_test.c trap)
foreach(name trap_live_test trap_hostile_test trap_reuse_test trap_dirty_test)
    add_unit_test(${name} ${CMAKE_CURRENT_LIST_DIR}/${name}.c trap)
    target_sources(${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/trap_guest.S)
endforeach()
add_unit_test(trap_stash_test ${CMAKE_CURRENT_LIST_DIR}/trap_stash_test.c trap)
target_include_directories(trap_stash_test PRIVATE ${CMAKE_SOURCE_DIR}/platform/trap)
target_link_options(trap_stash_test PRIVATE -Wl,--wrap=poll,--wrap=ioctl,--wrap=kill)
