# SPDX-License-Identifier: Apache-2.0
add_unit_test(files_pipe ${CMAKE_CURRENT_LIST_DIR}/pipe_test.c files)
add_unit_test(files_epoll ${CMAKE_CURRENT_LIST_DIR}/epoll_test.c files)
add_unit_test(files_socket ${CMAKE_CURRENT_LIST_DIR}/socket_test.c files)
