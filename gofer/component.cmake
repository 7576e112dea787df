# SPDX-License-Identifier: Apache-2.0
add_component(p9 gofer/p9 USES base)
add_component(gofer_server gofer/server USES base isolate p9)
