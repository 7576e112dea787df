# SPDX-License-Identifier: Apache-2.0
add_unit_test(host_memfile_test ${CMAKE_CURRENT_LIST_DIR}/memfile_test.c host)
add_unit_test(host_limits_test ${CMAKE_CURRENT_LIST_DIR}/limits_test.c host)
foreach(name io io_poll)
    add_unit_test(host_${name}_test ${CMAKE_CURRENT_LIST_DIR}/${name}_test.c host)
    target_include_directories(host_${name}_test PRIVATE ${CMAKE_SOURCE_DIR}/platform/host)
    target_link_libraries(host_${name}_test PRIVATE PkgConfig::LIBURING util)
endforeach()
