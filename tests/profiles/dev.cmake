# SPDX-License-Identifier: Apache-2.0
# Everyday work: warnings are errors, lock ranks are checked.
set(CMAKE_BUILD_TYPE Debug CACHE STRING "" FORCE)
set(RINGBOX_WERROR ON CACHE BOOL "" FORCE)
set(RINGBOX_LOCKDEP ON CACHE BOOL "" FORCE)
