# SPDX-License-Identifier: Apache-2.0
add_component(cmd sentry/cmd SOURCES options.c mounts.c exports.c view.c run.c attend.c attach.c control.c control_fds.c kill.c ps.c stats.c exec.c trace.c serve.c syscalls.c doctor.c platforms.c
    USES service trap ptrace isolate)
add_executable(ringbox sentry/cmd/main.c)
target_include_directories(ringbox PRIVATE sentry/cmd)
target_compile_definitions(ringbox PRIVATE RINGBOX_VERSION="${PROJECT_VERSION}")
target_link_libraries(ringbox PRIVATE cmd gofer_server ringbox_options Threads::Threads)
# Three processes are forked from it: what is bound once need not be bound in each.
target_link_options(ringbox PRIVATE -Wl,-z,now)
set_target_properties(ringbox PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR})
install(TARGETS ringbox)
install(FILES sentry/cmd/man/ringbox.1 sentry/cmd/man/ringbox-run.1 sentry/cmd/man/ringbox-exec.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES sentry/cmd/completion.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME ringbox)
