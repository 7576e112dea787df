# SPDX-License-Identifier: Apache-2.0
add_test(NAME model/lane COMMAND ${CMAKE_CURRENT_LIST_DIR}/run)
set_tests_properties(model/lane PROPERTIES LABELS model TIMEOUT 300)
