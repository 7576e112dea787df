# SPDX-License-Identifier: Apache-2.0
add_unit_test(kernel_wait ${CMAKE_CURRENT_LIST_DIR}/wait_test.c kernel)
add_unit_test(kernel_timer ${CMAKE_CURRENT_LIST_DIR}/timer_test.c kernel)
add_unit_test(kernel_task ${CMAKE_CURRENT_LIST_DIR}/task_test.c kernel)
add_unit_test(kernel_pledge ${CMAKE_CURRENT_LIST_DIR}/pledge_test.c kernel)
