# SPDX-License-Identifier: Apache-2.0
foreach(folder abi mm patch kernel vfs fs files net syscall service cmd)
    include(sentry/${folder}/component.cmake)
endforeach()
