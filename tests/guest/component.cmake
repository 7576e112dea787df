# SPDX-License-Identifier: Apache-2.0
# Guest tests: plain programs that pass natively first (native/NAME) and then inside the sandbox
# (guest/NAME, once the ringbox binary is built).
function(add_inside_test test program)
    add_test(NAME ${test} COMMAND $<TARGET_FILE:ringbox> run ${ARGN} -- $<TARGET_FILE:${program}>)
    set_tests_properties(${test} PROPERTIES LABELS "guest;$<$<BOOL:${RINGBOX_SANITIZE}>:sanitized>"
        SKIP_RETURN_CODE 77 TIMEOUT 120)
endfunction()
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
        # with 1, 2 and 3 pollers, and on the second I/O engine; sanitized builds run the first only
        add_inside_test(guest/${name} guest_${name})
        if(NOT RINGBOX_SANITIZE)
            add_inside_test(guest-2/${name} guest_${name} --sentry-cores 2)
            add_inside_test(guest-3/${name} guest_${name} --sentry-cores 3 --io epoll)
            add_inside_test(guest-patch/${name} guest_${name} --patch=1)
            add_inside_test(guest-patch-2/${name} guest_${name} --patch=2 --sentry-cores 2)
        endif()
    endif()
endfunction()

add_guest_test(signal)
add_guest_test(sigwait)
add_guest_test(sigframe m)
add_guest_test(sigstack)
add_guest_test(jobs)
add_guest_test(futex)
add_guest_test(timer rt)
add_guest_test(pthread)
add_guest_test(process)
add_guest_test(exec)
add_guest_test(mm)
add_guest_test(mmshare)
add_guest_test(clone)
add_guest_test(fs)
add_guest_test(file)
add_guest_test(pipe)
add_guest_test(poll)
add_guest_test(epoll)
add_guest_test(eventfd)
add_guest_test(socketpair)
add_guest_test(proc)
add_guest_test(fileio)
add_guest_test(path)

# Attacks on the sandbox from inside; only ever run in one (tests/e2e/hostile.sh).
add_executable(guest_hostile ${CMAKE_CURRENT_LIST_DIR}/hostile/hostile.c
    ${CMAKE_CURRENT_LIST_DIR}/hostile/calls.c ${CMAKE_CURRENT_LIST_DIR}/hostile/lane.c
    ${CMAKE_CURRENT_LIST_DIR}/hostile/bombs.c)
target_compile_definitions(guest_hostile PRIVATE _GNU_SOURCE)
target_compile_options(guest_hostile PRIVATE -O1 -Wall -Wextra -fno-strict-aliasing)
target_link_libraries(guest_hostile PRIVATE ring Threads::Threads rt)
set_target_properties(guest_hostile PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/guest)
add_guest_test(ring ringbox_lib)
target_include_directories(guest_ring PRIVATE ${CMAKE_SOURCE_DIR}/ring/include)
