# SPDX-License-Identifier: Apache-2.0
add_component(abi sentry/abi)
