# SPDX-License-Identifier: Apache-2.0
add_component(patch sentry/patch SOURCES decode.c slot.c USES mm)
target_link_libraries(patch PRIVATE Zydis)
