# SPDX-License-Identifier: Apache-2.0
add_unit_test(p9_wire_test ${CMAKE_CURRENT_LIST_DIR}/wire_test.c p9)
