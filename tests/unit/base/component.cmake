# SPDX-License-Identifier: Apache-2.0
add_unit_test(base_fiber_test ${CMAKE_CURRENT_LIST_DIR}/fiber_test.c base)
