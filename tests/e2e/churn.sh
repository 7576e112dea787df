#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# churn.sh RINGBOX N    N short sandboxes of several kinds, two at a time, and execs into one that lives all the while. What there is
# of processes, mounts, descriptors, memory, files and cgroups before and after has to be equal.
set -u
rb=$1 n=$2
tmp=$(mktemp -d) || exit 1
mkdir -m 700 "$tmp/run" && export XDG_RUNTIME_DIR=$tmp/run
finish() {
    "$rb" kill churn >/dev/null 2>&1
    rm -rf "$tmp"
}
trap finish EXIT
failed=0
bad() { echo "churn.sh: $*"; failed=1; }
me=$(id -u)

# Processes of this program file; those that a host's other sandboxes have do not count. An ordinary user may not look into a
# Sentry, so there all of that user do.
ours() {
    local p exe file
    [ "$me" = 0 ] || { pgrep -u "$me" -x ringbox; return; }
    file=$(realpath "$rb")
    for p in $(pgrep -x ringbox); do
        exe=$(readlink "/proc/$p/exe" 2>/dev/null) || continue
        [ "$exe" = "$file" ] && tr '\0' '\n' <"/proc/$p/environ" 2>/dev/null | grep -q "^XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR$" && echo "$p"
    done
}
zombies() { ps -o stat= --ppid $$ | grep -c '^Z'; }
state() {
    local p
    echo "processes $(ours | wc -l)"
    echo "zombies $(zombies)"
    echo "mounts $(wc -l </proc/self/mounts)"
    echo "runtime directory $(ls -A "$XDG_RUNTIME_DIR"/* | tr '\n' ' ')"
    echo "temporary $(find "$tmp" | wc -l)"
    echo "cgroups $(for p in $(ours); do cat "/proc/$p/cgroup"; done | sort -u | wc -l)"
    echo "IPC $(ipcs -m | grep -c "$(id -un 2>/dev/null || echo "$me")")"
    # the one that lives: what run, Sentry and file server have
    for p in $(ours | sort -n); do
        echo "descriptors $(find "/proc/$p/fd" -mindepth 1 2>/dev/null | wc -l)"
    done
    "$rb" stats --json churn | python3 -c '
import json, sys
s = json.load(sys.stdin)
for k in "open_files", "sockets", "epoll_items", "timers", "fibers", "tasks":
    print(k, s[k])'
}
# Resident KiB of the one that lives.
memory() {
    local p sum=0
    for p in $(ours); do
        sum=$((sum + $(awk '/^VmRSS/ { print $2 }' "/proc/$p/status" 2>/dev/null || echo 0)))
    done
    echo $sum
}

# One of each kind; its status is checked.
one() {
    case $(($1 % 8)) in
    0 | 1) "$rb" run -- true ;;
    2) "$rb" run -- sh -c 'exit 5'; [ $? = 5 ] ;;
    3) "$rb" run --name "c$1" -- sh -c 'echo x | cat >/tmp/f; sleep 0.01 & kill -9 $$'; [ $? = 137 ] ;;
    4) "$rb" exec churn -- sh -c 'exit 6'; [ $? = 6 ] ;;
    5) "$rb" run --tmpfs /scratch --bind "$tmp:/b" -- ls /b >/dev/null ;;
    6) echo in | "$rb" exec churn -- cat >/dev/null ;;
    7) timeout -s KILL 0.02 "$rb" run -- sleep 50; [ $? = 137 ] ;;
    esac
}
half() { # FIRST
    local i
    for ((i = $1; i < n; i += 2)); do
        one "$i" 2>"$tmp/err.$1" || { echo "sandbox $i: $(head -2 "$tmp/err.$1")" >>"$tmp/bad"; }
    done
}
settled() { # the last of them may be on its way out
    local i
    for i in $(seq 200); do
        [ "$(ours | wc -l)" = "$living" ] && return
        sleep 0.05
    done
}
: >"$tmp/bad"; : >"$tmp/err.0"; : >"$tmp/err.1"; : >"$tmp/before"; : >"$tmp/after"

"$rb" run --name churn -- sleep 36000 >"$tmp/out" 2>&1 &
for _ in $(seq 400); do "$rb" stats churn >/dev/null 2>&1 && break; sleep 0.05; done
for i in 4 6; do one $i || bad "warm-up $i"; done
sleep 1 # file servers hold the directories that were looked at first until they begin to watch, half a second later; then all is looked at anew
for i in 4 6; do one $i || bad "warm-up $i"; done
living=$(ours | wc -l)
state >"$tmp/before"
before=$(memory)
half 0 2>/dev/null & first=$!
half 1 2>/dev/null & second=$!
wait $first $second
settled
sleep 0.2
"$rb" ps >/dev/null # takes the sockets of those that were killed away
state >"$tmp/after"
after=$(memory)
[ -s "$tmp/bad" ] && { bad "sandboxes with another status:"; head -5 "$tmp/bad"; }
diff "$tmp/before" "$tmp/after" >"$tmp/diff" || { bad "before (<) and after (>) differ:"; cat "$tmp/diff"; }
# Caches of the file server grow to a bound; 100 bytes lost in each of 10,000 would be 1 MB.
[ "$((after - before))" -lt 8192 ] || bad "the sandbox that lives has grown by $((after - before)) KiB (from $before)"
echo "$n sandboxes and execs: $living processes, $before KiB before, $after KiB after"
exit "$failed"
