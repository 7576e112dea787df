#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# fsrandom.sh RINGBOX PROGRAM OPERATIONS SEED... -- KIND...
# Random file operations must go as they go natively, on every kind of mount (tests/guest/on_mount).
set -u
ringbox=$1 program=$2 operations=$3
shift 3
on=$(dirname "$(realpath "$0")")/../guest/on_mount
seeds=()
while [ "$1" != -- ]; do seeds+=("$1"); shift; done
shift
top=$(mktemp -d /tmp/ringbox-fsrandom.XXXXXX)
trap 'rm -rf "$top"' EXIT
failed=0 skipped=0
export LIMIT=3000
for kind; do
    plain=()
    [ "$kind" = diod ] && plain=(plain)
    for seed in "${seeds[@]}"; do
        "$on" native "$ringbox" "$program" "$seed" "$operations" "${plain[@]}" >"$top/native" 2>&1 || failed=1
        "$on" "$kind" "$ringbox" "$program" "$seed" "$operations" "${plain[@]}" >"$top/inside" 2>&1
        status=$?
        [ $status = 77 ] && { skipped=1; continue; }
        if [ $status != 0 ] || ! cmp -s "$top/native" "$top/inside"; then
            echo "fsrandom.sh: $kind, seed $seed: status $status (< native, > inside)"
            diff -a "$top/native" "$top/inside" | head -6
            failed=1
        fi
    done
done
[ $failed = 0 ] && [ $skipped = 1 ] && echo "diod is not installed: left out"
exit $failed
