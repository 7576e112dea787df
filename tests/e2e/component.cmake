# SPDX-License-Identifier: Apache-2.0
# Every case runs natively and inside and must give the same output and status.
file(GLOB E2E_CASES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cases/*.sh)
# What sanitized builds have time for, and what every run checks with --no-patch; --full checks all.
set(E2E_SANITIZED bash_pipeline busybox signals_exit python_basic)
set(E2E_UNPATCHED bash_pipeline python_basic python_mp gcc_build git_flow perl_basic sqlite_cli)
# What every run checks in a directory of the host that is written through; --full checks all.
set(E2E_THROUGH gcc_build git_flow make_project sqlite_cli python_files)
# On the other platform in every run; --full runs all of them.
set(E2E_TRACED bash_pipeline signals_exit python_basic gcc_build)
foreach(case ${E2E_CASES})
    get_filename_component(name ${case} NAME_WE)
    add_test(NAME e2e/${name} COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case})
    file(STRINGS ${case} full REGEX "^# full")
    if(full) # only in tests/run --full
        set_tests_properties(e2e/${name} PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 900)
        continue()
    endif()
    set_tests_properties(e2e/${name} PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 600)
    if(RINGBOX_SANITIZE AND name IN_LIST E2E_SANITIZED)
        set_property(TEST e2e/${name} PROPERTY LABELS e2e sanitized)
    endif()
    add_test(NAME e2e-ptrace/${name}
        COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case} --platform ptrace)
    set_tests_properties(e2e-ptrace/${name} PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 900)
    if(name IN_LIST E2E_TRACED)
        set_property(TEST e2e-ptrace/${name} PROPERTY LABELS e2e)
    endif()
    add_test(NAME e2e-nopatch/${name}
        COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case} --no-patch)
    add_test(NAME e2e-through/${name}
        COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case} --through)
    if(name IN_LIST E2E_THROUGH)
        set(label e2e)
    else()
        set(label full)
    endif()
    set_tests_properties(e2e-through/${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT 600)
    if(name IN_LIST E2E_UNPATCHED)
        set(label e2e)
    else()
        set(label full)
    endif()
    set_tests_properties(e2e-nopatch/${name} PROPERTIES LABELS ${label} SKIP_RETURN_CODE 77 TIMEOUT 600)
endforeach()

# Attacks from inside, one sandbox a case; the names stand in the program.
set(HOSTILE_LABELS guest guest-hostile)
if(RINGBOX_SANITIZE STREQUAL "address")
    list(APPEND HOSTILE_LABELS sanitized)
endif()
set(HOSTILE_SOURCE ${CMAKE_CURRENT_LIST_DIR}/../guest/hostile/hostile.c)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${HOSTILE_SOURCE})
file(STRINGS ${HOSTILE_SOURCE} HOSTILE_LINES REGEX "^ +{\"[a-z-]+\", case_")
foreach(line ${HOSTILE_LINES})
    string(REGEX REPLACE ".*\"([a-z-]+)\".*" "\\1" case "${line}")
    add_test(NAME hostile/${case} COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile.sh
        $<TARGET_FILE:ringbox> $<TARGET_FILE:guest_hostile> ${case})
    set_tests_properties(hostile/${case} PROPERTIES LABELS "${HOSTILE_LABELS}"
        SKIP_RETURN_CODE 77 TIMEOUT 300)
    if(case MATCHES "^socket-(limit|ports)$") # these take long
        set_tests_properties(hostile/${case} PROPERTIES LABELS full)
    endif()
    # On the other platform: what is about host threads in every run, all in the full one.
    add_test(NAME hostile-ptrace/${case} COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile.sh
        $<TARGET_FILE:ringbox> $<TARGET_FILE:guest_hostile> ${case})
    set_tests_properties(hostile-ptrace/${case} PROPERTIES LABELS full
        SKIP_RETURN_CODE 77 TIMEOUT 300 ENVIRONMENT "HOSTILE_OPTIONS=--platform ptrace")
    if(case MATCHES "^(abis|lane-random|stub-write|stub-unmap|mask-spin|kill-others)$")
        set_property(TEST hostile-ptrace/${case} PROPERTY LABELS "${HOSTILE_LABELS}")
    endif()
    # What lies to lanes and changed call sites, with sites changed at once.
    if(case MATCHES "^(patch|lane|stub)-|^slot$")
        add_test(NAME hostile-patch/${case} COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile.sh
            $<TARGET_FILE:ringbox> $<TARGET_FILE:guest_hostile> ${case})
        set_tests_properties(hostile-patch/${case} PROPERTIES LABELS "${HOSTILE_LABELS}"
            SKIP_RETURN_CODE 77 TIMEOUT 300 ENVIRONMENT HOSTILE_OPTIONS=--patch=1)
        if(case MATCHES "^stub-(jump|unmap)$") # the longest
            set_tests_properties(hostile-patch/${case} PROPERTIES LABELS full)
        endif()
    endif()
endforeach()
foreach(what stub gofer sentry cli)
    add_test(NAME hostile/kill-${what} COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile_kill.sh
        $<TARGET_FILE:ringbox> ${what} $<IF:$<BOOL:${RINGBOX_SANITIZE}>,10,30>)
    set_tests_properties(hostile/kill-${what} PROPERTIES LABELS "${HOSTILE_LABELS}" TIMEOUT 600)
    add_test(NAME hostile-ptrace/kill-${what} COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile_kill.sh
        $<TARGET_FILE:ringbox> ${what} 5)
    set_tests_properties(hostile-ptrace/kill-${what} PROPERTIES LABELS "${HOSTILE_LABELS}" TIMEOUT 600
        ENVIRONMENT "HOSTILE_OPTIONS=--platform ptrace")
    if(what MATCHES "stub|gofer")
        set_property(TEST hostile-ptrace/kill-${what} PROPERTY LABELS full)
    endif()
endforeach()
add_test(NAME hostile/memory-returns COMMAND ${CMAKE_CURRENT_LIST_DIR}/hostile_memory.sh
    $<TARGET_FILE:ringbox> $<TARGET_FILE:guest_hostile>)
set_tests_properties(hostile/memory-returns PROPERTIES LABELS full TIMEOUT 1000)
foreach(platform trap ptrace)
    add_test(NAME hostile/guest-fds-${platform} COMMAND ${CMAKE_CURRENT_LIST_DIR}/guest_fds.sh $<TARGET_FILE:ringbox> ${platform})
    set_tests_properties(hostile/guest-fds-${platform} PROPERTIES LABELS "guest;guest-hostile" SKIP_RETURN_CODE 77
        TIMEOUT 90)
endforeach()
add_test(NAME e2e/unix_random COMMAND ${CMAKE_CURRENT_LIST_DIR}/transcript.sh $<TARGET_FILE:ringbox>
    $<TARGET_FILE:guest_unixrandom> 2000 1 2 3 5 8 13 21 34)
set_tests_properties(e2e/unix_random PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME e2e/epoll_random COMMAND ${CMAKE_CURRENT_LIST_DIR}/transcript.sh $<TARGET_FILE:ringbox>
    $<TARGET_FILE:guest_epollrandom> 1000 1 2 3 5 8 13 21 34)
set_tests_properties(e2e/epoll_random PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME e2e/socket_options COMMAND ${CMAKE_CURRENT_LIST_DIR}/transcript.sh $<TARGET_FILE:ringbox>
    $<TARGET_FILE:guest_sockopts> 1 1 2 3 4)
set_tests_properties(e2e/socket_options PROPERTIES LABELS e2e TIMEOUT 120)
add_test(NAME e2e/host_terminal COMMAND ${CMAKE_CURRENT_LIST_DIR}/host_terminal.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/host_terminal PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 300)
add_test(NAME e2e/bad_input COMMAND ${CMAKE_CURRENT_LIST_DIR}/bad_input.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/bad_input PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 600)
add_test(NAME e2e/mounts COMMAND ${CMAKE_CURRENT_LIST_DIR}/mounts.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/mounts PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME e2e/serve COMMAND ${CMAKE_CURRENT_LIST_DIR}/serve.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/serve PROPERTIES LABELS e2e TIMEOUT 200)
# Linux's own 9P client, in an emulated machine: some minutes.
add_test(NAME vm/kernel_client COMMAND ${CMAKE_SOURCE_DIR}/tests/vm/kernel_client.sh $<TARGET_FILE:ringbox>)
set_tests_properties(vm/kernel_client PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 1600)
# Random file operations: some in every run, 1,500,000 in the full one.
set(FS_KINDS overlay tmpfs bind bind-exclusive rw diod)
add_test(NAME e2e/fsrandom COMMAND ${CMAKE_CURRENT_LIST_DIR}/fsrandom.sh $<TARGET_FILE:ringbox>
    $<TARGET_FILE:guest_fsrandom> 3000 1 -- ${FS_KINDS})
set_tests_properties(e2e/fsrandom PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME e2e/fsrandom-million COMMAND ${CMAKE_CURRENT_LIST_DIR}/fsrandom.sh $<TARGET_FILE:ringbox>
    $<TARGET_FILE:guest_fsrandom> 50000 2 3 5 8 13 -- ${FS_KINDS})
set_tests_properties(e2e/fsrandom-million PROPERTIES LABELS full TIMEOUT 3600)
add_test(NAME e2e/view COMMAND ${CMAKE_CURRENT_LIST_DIR}/view.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/view PROPERTIES LABELS e2e TIMEOUT 120)
add_test(NAME e2e/policies COMMAND ${CMAKE_CURRENT_LIST_DIR}/policies.sh $<TARGET_FILE:ringbox> ${CMAKE_BINARY_DIR}/tests/guest)
set_tests_properties(e2e/policies PROPERTIES LABELS e2e SKIP_RETURN_CODE 77 TIMEOUT 300)
add_test(NAME e2e-ptrace/policies COMMAND ${CMAKE_CURRENT_LIST_DIR}/policies.sh $<TARGET_FILE:ringbox> ${CMAKE_BINARY_DIR}/tests/guest
    --platform ptrace)
set_tests_properties(e2e-ptrace/policies PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 600)
add_test(NAME e2e/cli COMMAND ${CMAKE_CURRENT_LIST_DIR}/cli.sh $<TARGET_FILE:ringbox> ${CMAKE_SOURCE_DIR})
set_tests_properties(e2e/cli PROPERTIES LABELS e2e TIMEOUT 300)
add_test(NAME e2e/control COMMAND ${CMAKE_CURRENT_LIST_DIR}/control.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/control PROPERTIES LABELS e2e TIMEOUT 300)
if(NOT RINGBOX_SANITIZE)
    add_test(NAME e2e/docs COMMAND ${CMAKE_CURRENT_LIST_DIR}/docs.sh $<TARGET_FILE:ringbox> ${CMAKE_BINARY_DIR})
    set_tests_properties(e2e/docs PROPERTIES LABELS e2e TIMEOUT 300)
endif()
add_test(NAME e2e/attach COMMAND ${CMAKE_CURRENT_LIST_DIR}/attach.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/attach PROPERTIES LABELS "e2e;sanitized" TIMEOUT 300)
add_test(NAME e2e-ptrace/attach COMMAND ${CMAKE_CURRENT_LIST_DIR}/attach.sh $<TARGET_FILE:ringbox> --platform ptrace)
set_tests_properties(e2e-ptrace/attach PROPERTIES LABELS full TIMEOUT 600)
add_test(NAME e2e/host_changes COMMAND ${CMAKE_CURRENT_LIST_DIR}/host_changes.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/host_changes PROPERTIES LABELS e2e TIMEOUT 120)

# Traps of real programs over their whole life. Label of what is to hold and does not yet.
add_test(NAME e2e/traps COMMAND ${CMAKE_CURRENT_LIST_DIR}/traps.py $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/traps PROPERTIES LABELS wanted TIMEOUT 1200)
add_test(NAME e2e/waiting COMMAND ${CMAKE_CURRENT_LIST_DIR}/waiting.sh $<TARGET_FILE:ringbox> $<TARGET_FILE:bench_wait>)
set_tests_properties(e2e/waiting PROPERTIES LABELS e2e TIMEOUT 200 RUN_SERIAL ON)
add_test(NAME e2e/soak COMMAND ${CMAKE_CURRENT_LIST_DIR}/soak.py $<TARGET_FILE:ringbox> 20)
set_tests_properties(e2e/soak PROPERTIES LABELS full SKIP_RETURN_CODE 77 TIMEOUT 300)
add_test(NAME e2e/heap COMMAND ${CMAKE_CURRENT_LIST_DIR}/heap.sh $<TARGET_FILE:ringbox>)
set_tests_properties(e2e/heap PROPERTIES LABELS e2e TIMEOUT 120)
