# SPDX-License-Identifier: Apache-2.0
add_component(patch sentry/patch SOURCES decode.c install.c USES mm)
