# SPDX-License-Identifier: Apache-2.0
add_component(isolate platform/isolate USES base)
