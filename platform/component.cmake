# SPDX-License-Identifier: Apache-2.0
include(platform/base/component.cmake)
include(platform/host/component.cmake)
include(platform/isolate/component.cmake)
include(platform/stubs/component.cmake)
include(platform/trap/component.cmake)
include(platform/ptrace/component.cmake)
include(platform/skeleton/component.cmake)
