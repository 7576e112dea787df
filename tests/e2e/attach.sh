#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# attach.sh RINGBOX [OPTION...]    exec and trace: what runs in a sandbox that runs already, its stdio, exit
# status, signals, terminal; the sandbox's end; limits, at the limit and one past; others and liars.
# shellcheck disable=SC1091,SC2154,SC2034,SC2178,SC2128 # running.sh sets and uses these
set -u
. "$(dirname "$0")/running.sh"
shift
here=$(dirname "$0")
idle='echo up; exec sleep 100'
# into WANTED-STATUS OPTION... : exec into box
into() {
    local want=$1
    shift
    run "$want" exec "$@"
}
said() { [ "$(cat "$tmp/out")" = "$1" ] || bad "output '$(head -3 "$tmp/out")', not '$1'"; }
# soon COMMAND...: within 10 s it succeeds
soon() {
    local i
    for i in $(seq 200); do
        "$@" && return 0
        sleep 0.05
    done
    bad "never: $*"
}
# What runs in the sandbox, by name.
names() { "$rb" ps "$1" 2>/dev/null | awk 'NR > 1 { print $8 }' | sort | tr '\n' ' '; }
names_are() { [ "$(names box)" = "$1" ]; }

script=$idle
start box "$@"

# --- status, stdio ---
into 0 box true
into 7 box -- sh -c 'exit 7'
into 143 box -- sh -c 'kill -TERM $$'
into 127 box -- nosuch; one_line 'nosuch: No such file'
into 126 box -- /etc/passwd; one_line '/etc/passwd: Permission denied'
into 125 --cwd /nowhere box -- true; one_line 'working directory /nowhere'
into 0 box -- sh -c 'echo out; echo err >&2'
said out
[ "$(cat "$tmp/err")" = err ] || bad "stderr: $(cat "$tmp/err")"
into 0 --user 12:34 --cwd /tmp --env A=b box -- sh -c 'echo $(id -u) $(id -g) $(pwd) $A'
said '12 34 /tmp b'
into 0 box -- sh -c 'ps -o pid= -p $$ >/dev/null; cat /proc/2/comm; echo hidden >/tmp/seen'
said sleep
into 0 box -- cat /tmp/seen # the same sandbox
said hidden
head -c 3000000 /dev/urandom >"$tmp/data"
timeout 40 "$rb" exec box -- sh -c 'cat | cat' <"$tmp/data" | cmp - "$tmp/data" || bad "3 MB through exec's pipes"
cat "$tmp/data" | timeout 40 "$rb" exec box -- cat >"$tmp/copy"
cmp "$tmp/copy" "$tmp/data" || bad "3 MB from a pipe to a file"
[ "$(echo 1 | timeout 20 "$rb" exec box -- sh -c 'read -r x; echo $((x + 1))' | "$rb" exec box -- cat)" = 2 ] || bad "a pipeline of two"
timeout 20 "$rb" exec box -- sh -c 'exit 3' <&- >&- 2>&-
[ $? = 3 ] || bad "exec with closed stdio"
into 125 --tty yes box -- true; one_line 'no terminal'
into 125 --tty maybe box -- true; one_line 'not auto, yes or no'
into 125 nosuch -- true; one_line "no sandbox 'nosuch'"
into 125 box; one_line 'no command'
into 125; one_line 'no sandbox given'
into 125 --user x box true; one_line 'UID'
# What a command needs is limited as for a guest's own exec, and by the request's size.
long=$(head -c 131071 /dev/zero | tr '\0' a)
printf '%s' "$long" >"$tmp/long"
into 0 box -- sh -c 'echo ${#0}' "$long"
said 131071
names_are 'sleep ' || bad "left in the sandbox: $(names box)"

# --- signals ---
timeout 60 "$rb" exec box -- sh -c 'trap "echo got; exit 9" USR1; echo ready; while :; do sleep 0.05; done' >"$tmp/sig" &
other=$!
soon grep -q ready "$tmp/sig"
kill -USR1 "$(pgrep -P $other)"
wait $other
[ $? = 9 ] && grep -q got "$tmp/sig" || bad "SIGUSR1 did not arrive"
for s in INT:130 TERM:143; do
    "$rb" exec box -- sleep 77 &
    other=$!
    soon names_are 'sleep sleep '
    kill -"${s%:*}" $other
    wait $other
    got=$?
    [ $got = "${s#*:}" ] || bad "SIG${s%:*}: status $got"
done
# A caller that is killed: its command hears SIGHUP.
"$rb" exec box -- sleep 78 &
other=$!
soon names_are 'sleep sleep '
kill -9 $other
wait $other 2>/dev/null
soon names_are 'sleep '

# One process, by its number.
"$rb" exec box -- sh -c 'echo $$; trap "exit 8" USR2; while :; do sleep 0.05; done' >"$tmp/pid" &
other=$!
soon test -s "$tmp/pid"
run 0 kill -s USR2 --pid "$(cat "$tmp/pid")" box
wait $other
[ $? = 8 ] || bad "kill --pid"
run 125 kill --pid 4000 box; one_line 'no such process'
run 125 kill --pid 1 box; one_line 'not the number'

# --- terminal ---
timeout 100 python3 "$here/attach_tty.py" "$rb" box || bad "terminal"
soon names_are 'sleep '

# --- limits ---
timeout 100 python3 "$here/attach_limits.py" "$dir/box.sock" "$rb" box || bad "limits and liars"
soon names_are 'sleep '

# --- trace ---
into 0 box -- true
tracer=()
for i in 1 2; do
    "$rb" trace --file "$tmp/trace$i" box &
    tracer[i]=$!
done
"$rb" trace --pid 2 box >"$tmp/trace3" &
tracer[3]=$!
look() { "$rb" exec box -- sh -c 'exec 2>/dev/null; echo mark-$$ >/dev/null; cat /etc/mark-x; id -u >/dev/null'; grep -q mark-x "$tmp/trace1" && grep -q mark-x "$tmp/trace2"; }
soon look
soon grep -q getuid "$tmp/trace1" # what a guest would answer itself
kill -INT "${tracer[@]}"
for p in "${tracer[@]}"; do
    wait "$p" || bad "trace: status $?"
done
grep -q mark-x "$tmp/trace3" && bad "trace --pid 2 shows others"
into 0 box -- true
run 125 trace --pid 4000 box; one_line 'no such process'
run 125 trace --pid x box; one_line 'not the number'
run 125 trace; one_line 'one sandbox'
run 125 trace nosuch; one_line "no sandbox 'nosuch'"

# --- others, and the end ---
if [ "$(id -u)" = 0 ]; then
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
    chmod 755 "$XDG_RUNTIME_DIR" "$dir"
    chmod 777 "$dir/box.sock"
    as_nobody timeout 20 python3 "$here/attach_limits.py" "$dir/box.sock" refused || bad "another user may exec"
    as_nobody env XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" timeout 20 "$rb" exec box -- true 2>"$tmp/err"
    one_line "no sandbox 'box'"
    chmod 700 "$XDG_RUNTIME_DIR" "$dir"
fi
"$rb" trace box >"$tmp/trace" &
tracer=$!
"$rb" exec box -- sleep 79 2>"$tmp/err" &
other=$!
soon names_are 'sleep sleep '
run 0 kill box
wait $other
[ $? = 137 ] || bad "exec does not say that the sandbox has ended"
grep -q 'the sandbox has ended' "$tmp/err" || bad "exec says: $(cat "$tmp/err")"
wait "$tracer" || bad "trace ends with status $? as the sandbox ends"
ended 137

# A Sentry that does not answer.
start deaf "$@"
kill -STOP "$sentry"
timeout -s INT 2 "$rb" exec deaf -- true
[ $? = 124 ] || bad "exec into a stopped Sentry"
run 0 kill deaf
ended 137
exit "$failed"
