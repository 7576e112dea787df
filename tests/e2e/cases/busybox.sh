# SPDX-License-Identifier: Apache-2.0
# needs: busybox
busybox sh -c 'for i in 1 2 3; do echo $i; done | busybox sort -r | busybox md5sum'
busybox sh -c 'echo a b c | busybox awk "{print \$2}"; busybox seq 1 1000 | busybox tail -3; exit 7'
