# SPDX-License-Identifier: Apache-2.0
add_unit_test(service_policy ${CMAKE_CURRENT_LIST_DIR}/policy_test.c base)
target_sources(service_policy PRIVATE ${CMAKE_SOURCE_DIR}/sentry/service/policy.c)
target_include_directories(service_policy PRIVATE ${CMAKE_SOURCE_DIR}/sentry/service)
add_unit_test(service_latency ${CMAKE_CURRENT_LIST_DIR}/latency_test.c base)
target_include_directories(service_latency PRIVATE ${CMAKE_SOURCE_DIR}/sentry/service)
# Hostile lane entries against the whole Sentry in one process; 10^8 of them with --full.
add_executable(lane_storm ${CMAKE_CURRENT_LIST_DIR}/lane_storm.c ${CMAKE_CURRENT_LIST_DIR}/fakebox.c
    ${CMAKE_CURRENT_LIST_DIR}/values.c)
target_link_libraries(lane_storm PRIVATE service trap ringbox_options Threads::Threads)
target_include_directories(lane_storm PRIVATE ${CMAKE_SOURCE_DIR}/platform/trap)
# Not under ThreadSanitizer: one poller is one thread, and the thread that scribbles races on purpose.
if(NOT RINGBOX_SANITIZE STREQUAL "thread")
    add_test(NAME lane_storm COMMAND lane_storm --entries 300000 --min 5)
    set_tests_properties(lane_storm PROPERTIES LABELS unit TIMEOUT 180)
    add_test(NAME lane_storm_long COMMAND lane_storm --entries 100000000 --seed 1000 --min 8000 --jobs 2)
    set_tests_properties(lane_storm_long PROPERTIES LABELS storm TIMEOUT 7200)
endif()
