# SPDX-License-Identifier: Apache-2.0
add_unit_test(net_limits ${CMAKE_CURRENT_LIST_DIR}/limits_test.c net)
target_include_directories(net_limits PRIVATE ${CMAKE_SOURCE_DIR}/sentry/net ${CMAKE_SOURCE_DIR}/tests/unit/files)
