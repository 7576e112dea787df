#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# guest_fds.sh RINGBOX [PLATFORM]    seen from the host: a guest thread owns no descriptor and stands
# under both filters (trap), or under one and a tracer; only the mapper holds any descriptor. Needs to
# read /proc/PID/fd of the stubs: root.
set -u
ringbox=$1 platform=${2-trap}
case $platform in trap) want=2 ;; *) want=1 ;; esac
[ "$(id -u)" = 0 ] || { echo "skip: only root may look into the stubs"; exit 77; }
tmp=$(mktemp -d) || exit 1
trap 'kill "$cli" 2>/dev/null; wait 2>/dev/null; rm -rf "$tmp"' EXIT
timeout 60 "$ringbox" run --platform "$platform" -- bash -c 'exec 5</etc/passwd; sleep 50 & echo up; wait' >"$tmp/out" 2>&1 </dev/null &
cli=$!
for _ in $(seq 100); do grep -q up "$tmp/out" && break; sleep 0.1; done
sleep 0.5 # both threads are in their calls
guests=0 failed=0
walk() { # every thread below PID
    local p t filters fds
    for p in $(pgrep -P "$1"); do
        for t in /proc/"$p"/task/*; do
            filters=$(awk '/^Seccomp_filters:/ { print $2 }' "$t/status")
            [ "$(awk '/^Seccomp:/ { print $2 }' "$t/status")" = 2 ] || continue
            [ "$t" = "/proc/$p/task/$p" ] && continue # a stub's mapper
            [ "$filters" = $want ] || continue
            # below the Sentry: in its pid namespace, and not the Sentry (1 there) with its own threads
            awk '/^NSpid:/ { exit !(NF > 2) }' "/proc/$p/status" || continue
            awk '/^NSpid:/ { exit !($NF != 1) }' "/proc/$p/status" || continue
            guests=$((guests + 1))
            [ "$platform" = trap ] || grep -q '^TracerPid:[[:space:]]*[1-9]' "$t/status" ||
                { echo "guest thread $t has no tracer"; failed=1; }
            fds=$(find "$t/fd" -mindepth 1 2>/dev/null | wc -l)
            [ "$fds" = 0 ] || { echo "guest thread $t owns $fds descriptors"; failed=1; }
        done
        walk "$p"
    done
}
walk "$cli"
[ "$guests" -ge 2 ] || { echo "found $guests guest threads, expected 2"; cat "$tmp/out"; failed=1; }
exit "$failed"
