# SPDX-License-Identifier: Apache-2.0
add_unit_test(service_policy ${CMAKE_CURRENT_LIST_DIR}/policy_test.c base)
target_sources(service_policy PRIVATE ${CMAKE_SOURCE_DIR}/sentry/service/policy.c)
target_include_directories(service_policy PRIVATE ${CMAKE_SOURCE_DIR}/sentry/service)
