# SPDX-License-Identifier: Apache-2.0
if(NOT RINGBOX_SANITIZE)
    add_test(NAME mutants COMMAND ${CMAKE_CURRENT_LIST_DIR}/run)
    set_tests_properties(mutants PROPERTIES LABELS full TIMEOUT 3600)
endif()
