# SPDX-License-Identifier: Apache-2.0
add_component(files sentry/files USES vfs)
