# SPDX-License-Identifier: Apache-2.0
# The client file system against the real server (forked), directly and through a lying relay.
foreach(test p9fs_test p9fs_scan_test p9fs_hostile_test)
    add_unit_test(${test} ${CMAKE_CURRENT_LIST_DIR}/${test}.c fs gofer_server)
    target_sources(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/relay.c ${CMAKE_CURRENT_LIST_DIR}/../gofer/client.c)
    target_include_directories(${test} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../gofer
        ${CMAKE_CURRENT_LIST_DIR}/../../../sentry/fs)
endforeach()
