# SPDX-License-Identifier: Apache-2.0
add_unit_test(host_memfile_test ${CMAKE_CURRENT_LIST_DIR}/memfile_test.c host)
