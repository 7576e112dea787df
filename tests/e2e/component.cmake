# SPDX-License-Identifier: Apache-2.0
# Every case runs natively and inside and must give the same output and status.
file(GLOB E2E_CASES CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/cases/*.sh)
foreach(case ${E2E_CASES})
    get_filename_component(name ${case} NAME_WE)
    add_test(NAME e2e/${name} COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case})
    set_tests_properties(e2e/${name} PROPERTIES LABELS "e2e;$<$<BOOL:${RINGBOX_SANITIZE}>:sanitized>")
    add_test(NAME e2e-patch/${name}
        COMMAND ${CMAKE_CURRENT_LIST_DIR}/compare $<TARGET_FILE:ringbox> ${case} --patch=1)
    set_tests_properties(e2e-patch/${name} PROPERTIES LABELS e2e)
    set_tests_properties(e2e/${name} e2e-patch/${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endforeach()
