# SPDX-License-Identifier: Apache-2.0
add_unit_test(trap_filter_test ${CMAKE_CURRENT_LIST_DIR}/trap_filter_test.c trap)
add_unit_test(trap_live_test ${CMAKE_CURRENT_LIST_DIR}/trap_live_test.c trap)
target_sources(trap_live_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/trap_guest.S)
