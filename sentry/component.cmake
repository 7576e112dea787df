# SPDX-License-Identifier: Apache-2.0
foreach(folder abi mm kernel vfs fs files net syscall service cmd)
    include(sentry/${folder}/component.cmake)
endforeach()
