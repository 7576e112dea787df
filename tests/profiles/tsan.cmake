# SPDX-License-Identifier: Apache-2.0
# ThreadSanitizer; clang, because gcc 12 cannot hold many fibers.
set(CMAKE_C_COMPILER clang-14 CACHE STRING "")
set(CMAKE_ASM_COMPILER clang-14 CACHE STRING "")
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
set(RINGBOX_SANITIZE thread CACHE STRING "" FORCE)
set(RINGBOX_LOCKDEP ON CACHE BOOL "" FORCE)
