# SPDX-License-Identifier: Apache-2.0
add_fuzz_target(p9_fuzz ${CMAKE_CURRENT_LIST_DIR}/p9_fuzz.c p9)
add_fuzz_target(gofer_fuzz ${CMAKE_CURRENT_LIST_DIR}/gofer_fuzz.c gofer_server)
