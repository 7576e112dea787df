# SPDX-License-Identifier: Apache-2.0
# AddressSanitizer and UBSan.
set(CMAKE_C_COMPILER clang-14 CACHE STRING "")
set(CMAKE_ASM_COMPILER clang-14 CACHE STRING "")
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "")
set(RINGBOX_SANITIZE address CACHE STRING "")
set(RINGBOX_LOCKDEP ON CACHE BOOL "")
