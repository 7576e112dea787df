# SPDX-License-Identifier: Apache-2.0
# Checks that need the build: which headers a part sees, and which host calls its objects make.
set(rows "")
foreach(part ring base host isolate stubs trap ptrace skeleton guestlib elf p9 gofer abi mm patch kernel vfs fs files net
        syscall service cmd)
    set(target ${part})
    if(part STREQUAL gofer)
        set(target gofer_server)
    endif()
    set(property INCLUDE_DIRECTORIES)
    get_target_property(type ${target} TYPE)
    if(type STREQUAL INTERFACE_LIBRARY)
        set(property INTERFACE_INCLUDE_DIRECTORIES)
    endif()
    string(APPEND rows "${part} $<JOIN:$<TARGET_PROPERTY:${target},${property}>, >\n")
endforeach()
file(GENERATE OUTPUT ${CMAKE_BINARY_DIR}/lint_includes CONTENT "${rows}")
add_test(NAME lint/headers COMMAND ${CMAKE_CURRENT_LIST_DIR}/headers ${CMAKE_C_COMPILER}
    ${CMAKE_BINARY_DIR}/lint_includes)
add_test(NAME lint/host_calls COMMAND ${CMAKE_CURRENT_LIST_DIR}/host_calls ${CMAKE_BINARY_DIR})
set_tests_properties(lint/headers lint/host_calls PROPERTIES LABELS unit TIMEOUT 120)
if(RINGBOX_SANITIZE) # they say the same of every build; the dev build has them
    set_property(TEST lint/headers lint/host_calls PROPERTY LABELS lint)
endif()
