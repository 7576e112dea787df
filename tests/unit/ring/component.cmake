# SPDX-License-Identifier: Apache-2.0
add_unit_test(ring_abi_test ${CMAKE_CURRENT_LIST_DIR}/abi_test.c ring)
add_unit_test(ring_queue_test ${CMAKE_CURRENT_LIST_DIR}/queue_test.c ring)
add_unit_test(ring_slot_test ${CMAKE_CURRENT_LIST_DIR}/slot_test.c ring)
add_unit_test(ring_stress_test ${CMAKE_CURRENT_LIST_DIR}/stress_test.c ring)
add_unit_test(ring_table_test ${CMAKE_CURRENT_LIST_DIR}/table_test.c syscall ringbox_lib)
