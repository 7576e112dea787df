# SPDX-License-Identifier: Apache-2.0
add_unit_test(gofer_server_test ${CMAKE_CURRENT_LIST_DIR}/server_test.c gofer_server)
target_sources(gofer_server_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/client.c)
add_unit_test(gofer_attack_test ${CMAKE_CURRENT_LIST_DIR}/attack_test.c gofer_server)
target_sources(gofer_attack_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/client.c)
add_unit_test(gofer_scan_test ${CMAKE_CURRENT_LIST_DIR}/scan_test.c gofer_server)
target_sources(gofer_scan_test PRIVATE ${CMAKE_CURRENT_LIST_DIR}/client.c)
