# SPDX-License-Identifier: Apache-2.0
# Guest tests: plain programs that pass natively first (native/NAME) and then inside the sandbox
# (guest/NAME, once the ringbox binary is built).
function(add_guest_test name)
    add_executable(guest_${name} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${name}.c)
    target_compile_definitions(guest_${name} PRIVATE _GNU_SOURCE)
    target_compile_options(guest_${name} PRIVATE -O1 -Wall -Wextra -fno-strict-aliasing)
    target_link_libraries(guest_${name} PRIVATE Threads::Threads ${ARGN})
    set_target_properties(guest_${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/guest)
    add_test(NAME native/${name} COMMAND guest_${name})
    set_tests_properties(native/${name} PROPERTIES
        LABELS "native;guest-native" SKIP_RETURN_CODE 77 TIMEOUT 120)
    if(TARGET ringbox)
        add_test(NAME guest/${name}
            COMMAND $<TARGET_FILE:ringbox> run -- $<TARGET_FILE:guest_${name}>)
        set_tests_properties(guest/${name} PROPERTIES
            LABELS guest SKIP_RETURN_CODE 77 TIMEOUT 120)
    endif()
endfunction()

add_guest_test(signal)
add_guest_test(sigframe m)
add_guest_test(jobs)
add_guest_test(futex)
add_guest_test(timer rt)
add_guest_test(ring ringbox_lib)
target_include_directories(guest_ring PRIVATE ${CMAKE_SOURCE_DIR}/ring/include)
