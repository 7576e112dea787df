# SPDX-License-Identifier: Apache-2.0
add_component(base platform/base SOURCES base.c log.c lock.c fiber.c fiber_switch.S)
