# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets of tests/fuzz, with ASan and UBSan.
set(CMAKE_C_COMPILER clang-14 CACHE STRING "")
set(CMAKE_ASM_COMPILER clang-14 CACHE STRING "")
set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
set(RINGBOX_SANITIZE address CACHE STRING "" FORCE)
set(RINGBOX_FUZZ ON CACHE BOOL "" FORCE)
set(CMAKE_C_FLAGS "-fsanitize=fuzzer-no-link" CACHE STRING "" FORCE)
