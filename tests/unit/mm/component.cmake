# SPDX-License-Identifier: Apache-2.0
add_unit_test(mm_basic_test ${CMAKE_CURRENT_LIST_DIR}/basic_test.c mm)
target_sources(mm_basic_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/fake.c)
add_unit_test(mm_random_test ${CMAKE_CURRENT_LIST_DIR}/random_test.c mm)
target_sources(mm_random_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/fake.c)
add_unit_test(mm_limits_test ${CMAKE_CURRENT_LIST_DIR}/limits_test.c mm)
target_sources(mm_limits_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/fake.c)
