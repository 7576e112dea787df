#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hostile.sh RINGBOX GUEST_HOSTILE CASE...    each case in a sandbox of its own, looked at from outside
#
# Checks: the case and its well-behaved sibling end well, in time; the Sentry did not fail (no status
# 125, no sanitizer report, no line of its own); no process or mount is left; host files are as before.
set -u
ringbox=$1 guest=$2
shift 2
tmp=$(mktemp -d) || exit 1
# a name of our own, so that what is left behind can be told from other sandboxes
name=rbx$$
trap 'rm -rf "$tmp"' EXIT
ln "$ringbox" "$tmp/$name" 2>/dev/null || cp "$ringbox" "$tmp/$name" || exit 1
echo untouched >"$tmp/canary"
cp "$guest" "$tmp/guest_hostile" && chmod 755 "$tmp" "$tmp"/* || exit 1

host_state() {
    cat /etc/passwd /etc/hosts /bin/true "$tmp/canary" | cksum
    cat /proc/self/mountinfo | cksum
    ls / | cksum
    ls / /usr/bin | cksum
    cat /proc/sys/kernel/hostname
    ulimit -a | cksum
    ls -d /tmp/hostile-* 2>/dev/null
}

bad() {
    echo "hostile.sh: $case: $*" >&2
    failed=1
}

run_case() {
    local out=$tmp/out err=$tmp/err start status limit=64
    host_state >"$tmp/before"
    memory=512M
    case $case in memory-bomb | tmpfs-full) memory=64M ;; esac
    start=$SECONDS
    (ulimit -c 0; timeout -k 2 240 "$tmp/$name" run --memory $memory --pids 300 --timeout 200 \
        ${HOSTILE_OPTIONS-} -- "$tmp/guest_hostile" "$case") >"$out" 2>"$err" </dev/null
    status=$?
    [ $status = 0 ] || bad "exit status $status"
    grep -qx 'sibling fine' "$out" || bad "the sibling is not fine"
    grep -E 'AddressSanitizer|runtime error|LeakSanitizer|ThreadSanitizer|BUG|lock rank' "$err" >&2 &&
        bad "sanitizer or assertion"
    grep -E '^ringbox: ' "$err" | grep -vE 'killed$|no CPU set' | head -3 >"$tmp/said"
    [ $status = 125 ] && bad "ringbox failed"
    for i in 1 2 3 4 5 6 7 8 9 10; do
        pgrep -r R,S,D,T,t -x "$name" >/dev/null || break
        sleep 0.2
    done
    if pgrep -r R,S,D,T,t -x "$name" >&2; then
        bad "processes left behind"
        pgrep -x "$name" | while read -r p; do kill -9 "$p"; done
    fi
    host_state >"$tmp/after"
    cmp -s "$tmp/before" "$tmp/after" || { bad "the host changed"; diff "$tmp/before" "$tmp/after" >&2; }
    [ $failed = 0 ] || tail -20 "$err" >&2
    echo "$case: status $status, $((SECONDS - start)) s"
}

failed=0
for case in "$@"; do run_case; done
exit $failed
