# SPDX-License-Identifier: Apache-2.0
add_executable(micro bench/micro.c bench/micro_net.c)
target_compile_definitions(micro PRIVATE _GNU_SOURCE)
target_compile_options(micro PRIVATE -Wall -Wextra -O2)
target_link_libraries(micro PRIVATE ringbox_lib Threads::Threads)
set_target_properties(micro PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

add_executable(procs bench/procs.c)
target_compile_definitions(procs PRIVATE _GNU_SOURCE)
target_compile_options(procs PRIVATE -Wall -Wextra -O2)
target_link_options(procs PRIVATE -static)
target_link_libraries(procs PRIVATE Threads::Threads)
set_target_properties(procs PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

add_executable(bench_p9 bench/p9.c)
target_compile_definitions(bench_p9 PRIVATE _GNU_SOURCE)
target_compile_options(bench_p9 PRIVATE -Wall -Wextra -O2)
target_link_libraries(bench_p9 PRIVATE p9)
set_target_properties(bench_p9 PROPERTIES OUTPUT_NAME p9 RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)

foreach(name table spawn wait warm)
    add_executable(bench_${name} bench/${name}.c)
    target_compile_definitions(bench_${name} PRIVATE _GNU_SOURCE)
    target_compile_options(bench_${name} PRIVATE -Wall -Wextra -O2)
    target_link_libraries(bench_${name} PRIVATE Threads::Threads)
    set_target_properties(bench_${name} PROPERTIES
        OUTPUT_NAME ${name} RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bench)
endforeach()
