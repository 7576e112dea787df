#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hostile_memory.sh RINGBOX GUEST_HOSTILE [CASE...]    what an attack took of the Sentry's own memory returns
#
# Each case runs three times in one sandbox. The Sentry's anonymous memory after the third time is at most
# MORE_KIB above that after the first: what is left of an attack does not add up. Peaks are printed.
set -u
ringbox=$1 guest=$2
shift 2
[ $# -gt 0 ] || set -- socket-cycles socket-floods socket-limit socket-memory
MORE_KIB=8192
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
cp "$guest" "$tmp/guest_hostile" && chmod 755 "$tmp/guest_hostile" && mkfifo "$tmp/in" || exit 1
exec 3<>"$tmp/in"
failed=0

sentry_of() { # the child of the runner's CLI that is pid 1 of its own namespace
    local cli p
    cli=$(pgrep -P "$1" | head -1)
    for p in $(pgrep -P "$cli"); do
        grep -qE '^NSpid:[[:space:]]+[0-9]+[[:space:]]+1$' "/proc/$p/status" 2>/dev/null && echo "$p"
    done
}
kib() { awk -v what="$2:" '$1 == what { print $2 }' "/proc/$1/status"; }
round_done() { # waits for the N-th line that says so
    local i
    for i in $(seq 2000); do
        [ "$(grep -c '^round ' "$tmp/out")" -ge "$1" ] && return
        kill -0 $runner 2>/dev/null || break
        sleep 0.1
    done
    return 1
}

for case in "$@"; do
    : >"$tmp/out"
    timeout -k 2 250 "$ringbox" run --memory 512M --pids 300 --timeout 240 -- bash -c "
        for n in 1 2 3; do
            '$tmp/guest_hostile' $case >/dev/null 2>&1 || { echo status \$?; exit 1; }
            echo round \$n
            read -r line
        done" >"$tmp/out" 2>"$tmp/err" <"$tmp/in" 3>&- &
    runner=$!
    after=()
    for n in 1 2 3; do
        round_done $n || { echo "hostile_memory.sh: $case: $(cat "$tmp/out" "$tmp/err")" >&2; failed=1; break; }
        sleep 2 # idle: then it goes back to the host
        sentry=$(sentry_of $runner)
        after+=("$(kib "$sentry" RssAnon)")
        peak=$(kib "$sentry" VmHWM)
        echo go >&3
    done
    wait $runner
    echo "$case: ${after[*]} KiB after each round, peak $peak KiB"
    [ ${#after[@]} = 3 ] || continue
    [ "${after[2]}" -le $((after[0] + MORE_KIB)) ] || { echo "hostile_memory.sh: $case: grows" >&2; failed=1; }
done
exit $failed
