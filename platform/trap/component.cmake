# SPDX-License-Identifier: Apache-2.0
add_component(trap platform/trap USES base host ring)
