# SPDX-License-Identifier: Apache-2.0
add_component(host platform/host SOURCES memfile.c range.c USES base)
