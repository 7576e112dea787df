#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# waiting.sh RINGBOX WAIT: who spins, on which CPUs threads may run, and that nobody hangs (WAIT: bench/wait).
set -u
ringbox=$1 wait=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
status=0
fail() { echo "waiting: $*"; status=1; }
list=$(taskset -pc $$ | sed 's/.*: *//')
cpus=()
for range in ${list//,/ }; do
    for ((c = ${range%-*}; c <= ${range#*-}; c++)); do cpus+=("$c"); done
done
first=${cpus[0]}
# counter NAME: of the last --stats
counter() { grep -o "\"$1\":[0-9]*" "$tmp/stats" | head -n 1 | cut -d: -f2; }

# One CPU: nobody spins, the mode never changes, every call is handed over.
taskset -c "$first" timeout 60 "$ringbox" run "--stats=json,$tmp/stats" -- "$wait" calls 0.5 >"$tmp/out" || fail "one CPU: status $?"
rate=$(awk '{ print int($6) }' "$tmp/out")
[ "$(counter mode_changes)" = 0 ] || fail "one CPU: mode_changes $(counter mode_changes)"
[ "$(counter sleeps)" -ge $((rate / 8)) ] || fail "one CPU: $(counter sleeps) sleeps at $rate calls a second"
[ "$(counter spinning_ns)" -lt 150000000 ] || fail "one CPU: spun $(counter spinning_ns) ns in 0.5 s"

# Eight sleeping threads woken by one call: their wakes go together, at the end of one round.
timeout 60 "$ringbox" run "--stats=json,$tmp/stats" -- "$wait" crowd 200 >"$tmp/out" || fail "crowd: status $?"
[ "$(counter wakes)" -ge 1000 ] || fail "crowd: $(counter wakes) wakes of 1600"
[ "$(counter wakes)" -ge $((2 * $(counter wake_rounds))) ] ||
    fail "crowd: $(counter wakes) wakes in $(counter wake_rounds) rounds"

# descendants PID: and itself
descendants() {
    local p
    echo "$1"
    for p in $(pgrep -P "$1"); do descendants "$p"; done
}
# affinities PID: CPU lists of the threads that compute, below PID
affinities() {
    local t
    for t in $(descendants "$1" | sed 's|.*|/proc/&/task/*|'); do
        [ "$(awk '{ print $14 }' "$t/stat" 2>/dev/null || echo 0)" -gt 20 ] && awk '/Cpus_allowed_list/ { print $2 }' "$t/status"
    done 2>/dev/null | sort | uniq -c | tr -s ' \n' ' '
}

if [ ${#cpus[@]} -ge 2 ]; then
    two=$first,${cpus[1]}
    # Two threads that compute get both CPUs, and the poller is asleep.
    taskset -c "$two" timeout 60 "$ringbox" run -- "$wait" compute 2 6 >"$tmp/out" &
    run=$!
    want=$(taskset -c "$two" grep Cpus_allowed_list /proc/self/status | awk '{ print $2 }')
    for ((i = 0; i < 25; i++)); do # a loaded host may take long to let both compute at all
        seen=$(affinities $run)
        [ "$seen" = " 2 $want " ] && break
        sleep 0.2
    done
    [ "$seen" = " 2 $want " ] || fail "two compute threads: CPUs '$seen', not twice $want"
    wait $run || fail "two compute threads: status $?"
fi

# Signals from outside are heard, whatever runs inside.
for where in "$first" "$list"; do
    taskset -c "$where" "$ringbox" run -- "$wait" compute 4 60 >"$tmp/out" &
    run=$!
    sleep 0.5
    kill -TERM $run
    for ((i = 0; i < 100; i++)); do
        kill -0 $run 2>/dev/null || break
        sleep 0.1
    done
    kill -0 $run 2>/dev/null && { fail "CPUs $where: SIGTERM was not heard in 10 s"; kill -9 $run; }
    wait $run
    [ $? = 143 ] || fail "CPUs $where: SIGTERM gave another status than 143"
done
exit $status
