# SPDX-License-Identifier: Apache-2.0
# Coverage for gcovr.
set(CMAKE_BUILD_TYPE Debug CACHE STRING "" FORCE)
set(CMAKE_C_FLAGS "--coverage -fprofile-update=atomic" CACHE STRING "" FORCE)
set(CMAKE_EXE_LINKER_FLAGS "--coverage" CACHE STRING "" FORCE)
