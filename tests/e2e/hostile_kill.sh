#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# hostile_kill.sh RINGBOX WHAT [ROUNDS]    kill -9 parts of a running sandbox from outside
#
#   stub    one guest process: it dies, the others go on and the command ends well
#   gofer   calls on files end with an error, nothing hangs, the command ends by itself
#   sentry  everything vanishes, status 125 and one line
#   cli     everything vanishes within 2 s
#
# The command goes on until it is told to end, so that it is hit while it runs however slow the host is.
set -u
ringbox=$1 what=$2 rounds=${3-30}
tmp=$(mktemp -d) || exit 1
name=rbx$$
trap 'rm -rf "$tmp"' EXIT
ln "$ringbox" "$tmp/$name" 2>/dev/null || cp "$ringbox" "$tmp/$name" || exit 1
chmod 755 "$tmp" "$tmp/$name"
failed=0

bad() {
    echo "hostile_kill.sh: $what, round $round: $*" >&2
    failed=1
}

# Processes of the sandbox: CLI, gofer and Sentry are its children, stubs the Sentry's.
children() { pgrep -x "$name" -P "$1"; }
sentry_of() { # the child that is pid 1 of its own namespace
    local p
    for p in $(children "$1"); do
        grep -qE '^NSpid:[[:space:]]+[0-9]+[[:space:]]+1$' "/proc/$p/status" 2>/dev/null && echo "$p"
    done
}

# 2 s on a host that has time; on a busy one the dying need their turns, as twenty new processes do now.
vanished_in_time() {
    [ $took -lt 2000 ] && return
    local i start most
    start=$(date +%s%N)
    for i in $(seq 20); do /bin/true; done
    most=$((2000 + 5 * ($(date +%s%N) - start) / 1000000))
    [ $took -lt $most ] || bad "took $took ms, more than $most"
}

nothing_left() {
    local i
    for i in $(seq 20); do
        pgrep -r R,S,D,T,t -x "$name" >/dev/null || return 0
        sleep 0.1
    done
    bad "processes left behind: $(pgrep -r R,S,D,T,t -x "$name" | tr '\n' ' ')"
    pgrep -x "$name" | while read -r p; do kill -9 "$p"; done
}

victim='
for i in 1 2; do
    (while :; do :; done) & victims="$victims $!"
    (while :; do read -t 0.01 line </proc/uptime; ls / >/dev/null; done) & victims="$victims $!"
done
n=0 more=8
while [ $more -gt 0 ]; do
    n=$((n + 1))
    echo beat $n
    find /etc -maxdepth 2 >/dev/null 2>&1
    if [ -n "$end" ] || read -r -t 0.01 end; then more=$((more - 1)); fi
done
kill -9 $victims
wait
echo end of the command'

mkfifo "$tmp/in" || exit 1
exec 3<>"$tmp/in"
for round in $(seq "$rounds"); do
    timeout -k 2 30 "$tmp/$name" run --pids 100 --memory 256M --timeout 25 ${HOSTILE_OPTIONS-} -- bash -c "$victim" \
        >"$tmp/out" 2>"$tmp/err" <"$tmp/in" 3>&- &
    runner=$!
    cli= sentry=
    for i in $(seq 500); do
        cli=$(children $runner)
        [ -n "$cli" ] && sentry=$(sentry_of "$cli")
        [ -n "$sentry" ] && grep -q 'beat' "$tmp/out" && break
        sleep 0.02
    done
    [ -n "$sentry" ] || { bad "no Sentry seen: $(tail -n 3 "$tmp/err")"; kill $runner; wait $runner; continue; }
    sleep 0.0$((RANDOM % 10))$((RANDOM % 10))
    gofer=$(children "$cli" | grep -vx "$sentry" | head -1)
    case $what in
    stub) # never the template, nor the command itself (the oldest stub)
        for i in 1 2 3; do
            pid=$(children "$sentry" | tail -n +5 | shuf -n 1)
            [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null
            sleep 0.02
        done ;;
    gofer) kill -9 "$gofer" ;;
    sentry) kill -9 "$sentry" ;;
    cli) kill -9 "$cli" ;;
    esac
    echo end >&3
    begin=$(date +%s%N)
    wait $runner
    status=$?
    took=$((($(date +%s%N) - begin) / 1000000))
    case $what in
    stub) # the command may itself have been hit: then that status, and no hang
        [ $status = 125 ] && bad "status 125"
        [ $took -lt 20000 ] || bad "took $took ms" ;;
    gofer) [ $took -lt 20000 ] || bad "took $took ms" ;;
    sentry)
        [ $status = 125 ] || bad "status $status"
        [ "$(grep -c '^ringbox: ' "$tmp/err")" = 1 ] || bad "messages: $(cat "$tmp/err")"
        vanished_in_time ;;
    cli) vanished_in_time ;;
    esac
    grep -E 'AddressSanitizer|runtime error|BUG' "$tmp/err" && bad "the Sentry failed"
    nothing_left
    while read -r -t 0 <&3; do read -r <&3; done # who was killed has not read it
done
echo "hostile_kill.sh: $what: $rounds rounds"
exit $failed
