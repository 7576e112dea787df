# SPDX-License-Identifier: Apache-2.0
add_component(p9 gofer/p9 SOURCES wire.c USES base)
add_component(gofer_server gofer/server SOURCES server.c node.c fid.c op_walk.c op_open.c op_scan.c op_name.c
    op_misc.c watch.c USES base isolate p9)
