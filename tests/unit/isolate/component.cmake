# SPDX-License-Identifier: Apache-2.0
add_unit_test(isolate_test ${CMAKE_CURRENT_LIST_DIR}/isolate_test.c isolate host)
target_link_libraries(isolate_test PRIVATE PkgConfig::LIBSECCOMP)
add_unit_test(isolate_gofer_test ${CMAKE_CURRENT_LIST_DIR}/gofer_test.c isolate)
add_test(NAME isolate_lists_test COMMAND ${CMAKE_CURRENT_LIST_DIR}/lists_test.sh ${CMAKE_SOURCE_DIR}/platform/isolate/lists.awk)
set_tests_properties(isolate_lists_test PROPERTIES LABELS unit TIMEOUT 30)
