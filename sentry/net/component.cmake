# SPDX-License-Identifier: Apache-2.0
add_component(net sentry/net USES files)
