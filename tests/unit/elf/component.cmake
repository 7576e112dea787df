# SPDX-License-Identifier: Apache-2.0
add_unit_test(elf_test ${CMAKE_CURRENT_LIST_DIR}/elf_test.c elf)
add_unit_test(elf_script_test ${CMAKE_CURRENT_LIST_DIR}/script_test.c elf)
add_unit_test(elf_stack_test ${CMAKE_CURRENT_LIST_DIR}/stack_test.c elf)
