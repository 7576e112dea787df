# SPDX-License-Identifier: Apache-2.0
add_component(fs sentry/fs USES vfs p9)
