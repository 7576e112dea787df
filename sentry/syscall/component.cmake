# SPDX-License-Identifier: Apache-2.0
add_component(syscall sentry/syscall USES fs files net elf)
