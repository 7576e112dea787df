# SPDX-License-Identifier: Apache-2.0
add_unit_test(patch_decode_test ${CMAKE_CURRENT_LIST_DIR}/decode_test.c patch)
