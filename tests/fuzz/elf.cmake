# SPDX-License-Identifier: Apache-2.0
add_fuzz_target(elf_fuzz ${CMAKE_CURRENT_LIST_DIR}/elf_fuzz.c elf)
target_include_directories(elf_fuzz PRIVATE ${CMAKE_CURRENT_LIST_DIR}/../unit/elf)
