# SPDX-License-Identifier: Apache-2.0
# The numbers as the build's kernel headers have them: `SYSCALL_NUMBER(name)` a line.
set(SYSCALL_TEST_DIR ${CMAKE_CURRENT_BINARY_DIR}/syscall_test)
file(MAKE_DIRECTORY ${SYSCALL_TEST_DIR})
execute_process(
    COMMAND sh -c "echo '#include <asm/unistd_64.h>' | ${CMAKE_C_COMPILER} -E -dM -x c - | awk '/^#define __NR_/ { sub(\"__NR_\", \"\", $2); print \"SYSCALL_NUMBER(\" $2 \")\" }'"
    OUTPUT_FILE ${SYSCALL_TEST_DIR}/numbers.def)
add_unit_test(syscall_table ${CMAKE_CURRENT_LIST_DIR}/table_test.c syscall)
target_include_directories(syscall_table PRIVATE ${SYSCALL_TEST_DIR})
