# SPDX-License-Identifier: Apache-2.0
add_component(skeleton platform/skeleton SOURCES skeleton.c USES base host ring)
