# SPDX-License-Identifier: Apache-2.0
# What users get.
set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
set(RINGBOX_SECCOMP_TRAP OFF CACHE BOOL "" FORCE) # a violation kills at once
