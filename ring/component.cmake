# SPDX-License-Identifier: Apache-2.0
add_component(ring ring)
install(FILES ring/man/ring.7 DESTINATION ${CMAKE_INSTALL_MANDIR}/man7)
