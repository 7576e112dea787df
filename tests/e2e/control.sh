#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# control.sh RINGBOX    running sandboxes from outside: kill, ps, stats, names; sandboxes whose guest,
# Sentry or `ringbox run` is stuck; sockets of others and of the dead.
# shellcheck disable=SC1091,SC2154,SC2034,SC2178,SC2128 # running.sh sets and uses these
set -u
. "$(dirname "$0")/running.sh"
idle='echo up; exec sleep 100'

# --- kill ---
script=$idle
start sleeper
run 0 kill sleeper
[ -s "$tmp/out$tmp/err" ] && bad "kill says something"
ended 137
run 125 kill sleeper; one_line "no sandbox 'sleeper'"

script='echo up; while :; do :; done'
start looper
ms run 0 kill looper
ended 137

script='trap "" TERM INT HUP; echo up; while :; do sleep 1; done'
start deaf
run 0 kill -s TERM deaf
run 0 kill -s HUP deaf
run 0 ps deaf
run 0 kill deaf
ended 137

script='trap "echo got; exit 7" USR1; echo up; while :; do sleep 0.1; done'
start handler
run 0 kill -s SIGUSR1 handler
ended 7
grep -q got "$tmp/handler.out" || bad "the signal did not arrive"

# A Sentry that is stopped: known to be silent, and ended all the same.
script=$idle
start stopped
kill -STOP "$sentry"
ms run 125 stats stopped; one_line 'does not answer'
[ "$took" -lt 12000 ] || bad "stats of a stopped Sentry took $took ms"
run 125 kill -s USR1 stopped; one_line 'does not answer'
run 0 ps
grep -q '^stopped ' "$tmp/out" || bad "ps does not list a stopped sandbox"
ms run 0 kill stopped
[ "$took" -lt 10000 ] || bad "kill of a stopped Sentry took $took ms"
ended 137

# Guest processes that are stopped from outside.
start numb
for p in $(pgrep -P "$sentry"); do kill -STOP "$p"; done
run 0 stats numb
ms run 0 kill numb
[ "$took" -lt 10000 ] || bad "kill of stopped guests took $took ms"
ended 137
start numb
for p in $(pgrep -P "$sentry"); do kill -STOP "$p"; done
run 0 kill -s TERM numb # the Sentry decides what it means
ended 143

# A `ringbox run` that is stopped.
start paused
kill -STOP "$cli"
run 0 ps
grep -q '^paused .*does not answer' "$tmp/out" || bad "ps does not list a stopped run"
ms run 0 kill paused
[ "$took" -lt 20000 ] || bad "kill of a stopped run took $took ms"
ended 137
run 0 ps
grep -q '^paused' "$tmp/out" && bad "ps lists what has been killed"

# Both.
start frozen
kill -STOP "$cli" "$sentry"
run 0 kill frozen
ended 137

# A run that is killed takes a stopped Sentry along, and its socket is cleaned up.
start left
kill -STOP "$sentry"
kill -9 "$cli"
ended 137
[ -S "$dir/left.sock" ] || bad "no socket where it should be"
run 125 kill left; one_line "no sandbox 'left'"
[ -e "$dir/left.sock" ] && bad "a stale socket is left"

# --- ps, stats ---
script='for i in $(seq 50); do (exit 0); done; echo up; sleep 100 & sleep 100'
start busy --stats=text,"$tmp/stats.out"
run 0 ps
grep -qE "^busy +$cli +$sentry +[0-9]+ bash -c " "$tmp/out" || bad "ps: $(cat "$tmp/out")"
run 0 ps busy
[ "$(grep -c ' sleep$' "$tmp/out")" = 2 ] || bad "ps busy: $(cat "$tmp/out")"
run 0 ps --json
python3 -c '
import json, sys
l = json.load(open(sys.argv[1]))
assert [s["pid"] for s in l if s["name"] == "busy"] == [int(sys.argv[2])], l' "$tmp/out" "$cli" || bad "ps --json"
run 0 ps --json busy
python3 -c '
import json, sys
l = json.load(open(sys.argv[1]))
assert [p["name"] for p in l] == ["bash", "sleep", "sleep"], l
assert l[0]["pid"] == 2 and l[1]["ppid"] == 2 and l[0]["rss_kib"] > 0 and l[0]["calls"] > 100, l' "$tmp/out" || bad "ps --json busy"
run 0 stats --json busy
python3 - "$tmp/out" <<'P' || bad "stats --json busy"
import json, sys
s = json.load(open(sys.argv[1]))
calls = {c["call"]: c for c in s["calls"]}
assert calls["clone"]["trap"] + calls["clone"]["ring"] >= 52, calls["clone"]
assert calls["clone"]["p50_ns"] <= calls["clone"]["p999_ns"], calls["clone"]
t = s["total"]
for way in "local", "ring", "trap":
    assert t[way] == sum(c[way] for c in s["calls"]), way
assert t["calls"] == t["local"] + t["ring"] + t["trap"]
assert 0 <= t["trap_free_percent"] <= 100
assert s["events"] >= t["trap"] and s["mapper_lists"] > 50 and s["p9_messages"] > 0 and s["host_enters"] > 0, s
assert s["tasks"] == 3, s["tasks"]
assert sum(p["working_ns"] for p in s["pollers"]) == s["working_ns"] > 0
assert sum(b["times"] for b in s["batches"]) > 0
P
run 0 stats busy
grep -q 'trap-free' "$tmp/out" || bad "stats has no total"
run 0 kill busy
ended 137
grep -q 'trap-free' "$tmp/stats.out" || bad "statistics are not printed when the sandbox is killed"

# A guest's names reach no terminal as they are.
script='printf "\033]0;x\007\"\\\\\n" >/proc/self/comm; echo up; read -r x </dev/zero'
start escapes
run 0 ps escapes
LC_ALL=C grep -q '[^ -~]' "$tmp/out" && bad "ps prints what is not text"
grep -q ' ?\]0;x' "$tmp/out" || bad "ps escapes: $(cat "$tmp/out")"
run 0 ps --json escapes
python3 -c 'import json, sys; assert "]0;x" in json.load(open(sys.argv[1]))[0]["name"]' "$tmp/out" || bad "ps --json escapes"
run 0 kill escapes
ended 137

# --- names ---
script=$idle
start twin
run 125 run --name twin -- true; one_line 'of that name is running'
run 0 kill twin
ended 137
long=$(printf 'n%.0s' $(seq 64))
run 0 run --name "$long" -- true
for name in "${long}n" '' 7 .x a/b 'a b' ../x $'a\nb' -x; do
    run 125 run --name="$name" -- true; one_line 'is not a name'
done
for name in ../x a/b '' "${long}n"; do
    run 125 kill -- "$name"; one_line 'is no name of a sandbox'
done
run 0 run --name again -- true
run 0 run --name again -- true
[ -z "$(ls -A "$dir" 2>/dev/null)" ] || bad "left in the directory: $(ls -A "$dir")"

# --- wrong words ---
run 125 kill; one_line 'no sandbox given'
run 125 kill -s NOSUCH x; one_line 'no signal'
run 125 kill -s 65 x; one_line 'no signal'
run 125 kill -x y; one_line 'no option'
run 125 stats; one_line 'no sandbox given'
run 125 ps --nonsense; one_line 'unknown argument'
for verb in kill ps stats exec trace; do run 0 "$verb" --help; done

# --- others ---
if [ "$(id -u)" = 0 ]; then
    as_nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"; }
    chmod 755 "$XDG_RUNTIME_DIR"
    start private
    as_nobody env XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" timeout 20 "$rb" kill private 2>"$tmp/err"
    one_line "no sandbox 'private'"
    # the directory is not the only fence
    chmod 755 "$dir"; chmod 777 "$dir/private.sock"
    as_nobody /usr/bin/python3 - "$dir/private.sock" <<'P' || bad "another user gets an answer"
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(5)
s.connect(sys.argv[1])
try:
    s.send(b"end")
    assert s.recv(100) == b""
except (BrokenPipeError, ConnectionResetError):
    pass
P
    # ... and with it open nobody trusts it
    run 125 kill private; one_line "no sandbox 'private'"
    chmod 700 "$dir"
    run 0 kill private
    ended 137
    # a directory that another user has prepared is not used
    mkdir "$dir.theirs" && rm -rf "$dir" && chown 65534 "$dir.theirs" && chmod 777 "$dir.theirs" && mv "$dir.theirs" "$dir"
    run 0 run --name elsewhere -- true
    [ -z "$(ls -A "$dir")" ] || bad "a foreign directory is used"
    rm -rf "$dir"
fi

# --- nonsense through the socket ---
script=$idle
start target
python3 - "$dir/target.sock" <<'P' || bad "nonsense"
import socket, sys
def ask(data, n=1):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    s.settimeout(10)
    s.send(data)
    return s.recv(1000)
for bad in b"x", b"signal", b"signal 0", b"signal 65", b"signal -1", b"signal 9x", b"stats", b"stats xml", b"A" * 64, b"\0\0", b"\xff":
    assert ask(bad).startswith(b"error not understood"), (bad, ask(bad))
assert ask(b"A" * 65).startswith(b"error the request is too long")
assert ask(b"A" * 5000).startswith(b"error the request is too long")
# more connections than are served at a time, all silent: the others are told, nobody is stuck
idle = []
for i in range(8):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    idle.append(s)
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.settimeout(10)
s.connect(sys.argv[1])
assert s.recv(100).startswith(b"error too many"), "ninth"
idle[0].send(b"info")
assert idle[0].recv(100) == b"ok"
for s in idle:
    s.close()
# one that asks and does not read, and one that leaves
for i in range(20):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    s.connect(sys.argv[1])
    s.send(b"stats json")
    s.close()
assert ask(b"info") == b"ok"
P
run 0 stats target
run 0 kill target
ended 137

exit "$failed"
