#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# running.sh    sourced with the arguments of a test that has sandboxes running: where they lie, how one is
# started and found to have ended.
# shellcheck disable=SC2034,SC2154 # what tests use and set
rb=$1
tmp=$(mktemp -d) || exit 1
chmod 755 "$tmp"
export XDG_RUNTIME_DIR=$tmp/run
mkdir -m 700 "$XDG_RUNTIME_DIR" || exit 1
dir=$XDG_RUNTIME_DIR/ringbox
mine=()
finish() {
    for p in "${mine[@]}"; do kill -CONT "$p"; kill -9 "$p"; done 2>/dev/null
    rm -rf "$tmp"
}
trap finish EXIT
failed=0
bad() { echo "${0##*/}: $*"; failed=1; }

# run WANTED-STATUS ARGUMENT...: output in $tmp/out, messages in $tmp/err
run() {
    local want=$1 got
    shift
    timeout 40 "$rb" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    [ "$got" = "$want" ] || { bad "ringbox $*: status $got, not $want"; head -3 "$tmp/err"; }
}
one_line() {
    { [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q '^ringbox: ' "$tmp/err" && grep -qE -- "$1" "$tmp/err"; } ||
        bad "not one line with '$1': $(cat "$tmp/err")"
}
# start NAME ARGUMENT...: a sandbox in the background; waits until its command runs (it prints a line).
# The command is the script $script.
start() {
    local name=$1 i
    shift
    : >"$tmp/$name.out"
    timeout -k 1 120 "$rb" run --name "$name" "$@" -- bash -c "$script" >"$tmp/$name.out" 2>"$tmp/$name.err" </dev/null &
    runner=$!
    for i in $(seq 600); do
        [ -s "$tmp/$name.out" ] && break
        sleep 0.05
    done
    [ -s "$tmp/$name.out" ] || bad "$name does not start: $(head -3 "$tmp/$name.err")"
    cli=$(pgrep -P $runner | head -1)
    mine+=("$cli")
    read -r sentry < <("$rb" ps | awk -v n="$name" '$1 == n { print $3 }')
    mine+=("$sentry")
}
# ended STATUS: the runner of the last start has ended, with this status; nothing of it is left.
ended() {
    local got i
    wait "$runner" 2>/dev/null
    got=$?
    [ "$got" = "$1" ] || bad "run ended with status $got, not $1"
    for i in $(seq 100); do
        kill -0 "$sentry" 2>/dev/null || break
        sleep 0.05
    done
    kill -0 "$sentry" 2>/dev/null && bad "the Sentry $sentry is left"
}
# ms COMMAND...: its wall time goes to $took
ms() {
    local begin
    begin=$(date +%s%N)
    "$@"
    took=$((($(date +%s%N) - begin) / 1000000))
}
