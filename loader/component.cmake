# SPDX-License-Identifier: Apache-2.0
add_component(elf loader/elf USES base)
