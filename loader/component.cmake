# SPDX-License-Identifier: Apache-2.0
add_component(elf loader/elf SOURCES elf.c script.c stack.c USES base)
