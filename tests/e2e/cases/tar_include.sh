# SPDX-License-Identifier: Apache-2.0
# needs: tar gzip
# timeout: 120
find /usr/include -name '*.h' | sort | sha256sum
tar -cf - -C /usr include --sort=name | gzip -n | sha256sum
find /usr/include -type f | wc -l
