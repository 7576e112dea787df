# SPDX-License-Identifier: Apache-2.0
add_component(stubs platform/stubs SOURCES stubs.c birth.c list.c fpu.c ranges.c USES base host ring guestlib)
