# SPDX-License-Identifier: Apache-2.0
add_component(host platform/host
    SOURCES memfile.c numa.c range.c io.c io_wake.c io_direct.c io_helper.c io_epoll.c io_uring.c limits.c
    USES base)
target_link_libraries(host PRIVATE PkgConfig::LIBURING Threads::Threads)
