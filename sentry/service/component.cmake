# SPDX-License-Identifier: Apache-2.0
add_component(service sentry/service USES syscall trap)
