#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# transcript.sh RINGBOX PROGRAM COUNT SEED...: what PROGRAM prints for a seed is the same natively and inside.
set -u
ringbox=$1 program=$2 count=$3
shift 3
top=$(mktemp -d /tmp/ringbox-transcript.XXXXXX)
trap 'rm -rf "$top"' EXIT
fail=0
for seed in "$@"; do
    "$program" print "$seed" "$count" >"$top/native" || { echo "seed $seed: native failed"; fail=1; }
    timeout 60 "$ringbox" run -- "$program" print "$seed" "$count" >"$top/inside" || { echo "seed $seed: inside failed"; fail=1; }
    [ -s "$top/native" ] || { echo "seed $seed: nothing printed"; fail=1; }
    if ! cmp -s "$top/native" "$top/inside"; then
        echo "seed $seed: < native, > inside"
        diff "$top/native" "$top/inside" | head -10
        fail=1
    fi
done
exit "$fail"
