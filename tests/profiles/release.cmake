# SPDX-License-Identifier: Apache-2.0
# What users get.
set(CMAKE_BUILD_TYPE Release CACHE STRING "")
