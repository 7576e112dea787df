# SPDX-License-Identifier: Apache-2.0
add_component(guestlib guestlib SOURCES stub.S USES ring)
