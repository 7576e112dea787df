#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# host_terminal.sh RINGBOX - the case `terminal` with a terminal of the host: every program is a sandbox
# of its own on it. Screens must be those of the same programs without sandbox.
set -u
ringbox=$(realpath "$1") case=$(dirname "$(realpath "$0")")/cases/terminal.sh
for program in $(sed -n 's/^# needs: //p' "$case"); do
    command -v "$program" >/dev/null || { echo "skip: $program is not installed"; exit 77; }
done
top=$(mktemp -d /tmp/ringbox-e2e.XXXXXX)
trap 'rm -rf "$top"' EXIT
cd "$top" || exit 1
export LC_ALL=C TZ=UTC HOME=/nonexistent PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
timeout 60 bash "$case" >native.out 2>native.err </dev/null
native=$?
TERMINAL_PREFIX="$ringbox run --rw --" timeout -k 5 120 bash "$case" >inside.out 2>inside.err </dev/null
inside=$?
[ "$native" = "$inside" ] && cmp -s native.out inside.out && exit 0
echo "exit status: native $native, inside $inside; output (< native, > inside):"
diff -a native.out inside.out | head -40
tail -5 inside.err
exit 1
