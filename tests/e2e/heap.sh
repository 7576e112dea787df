#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# heap.sh RINGBOX    names below /proc, and buffers of unix streams, that nobody uses any more leave the Sentry's heap
#
# heap_bytes after a load is at most MORE above what they were before, when it had run once.
set -u
ringbox=$1
MORE=150000 # bytes; before the caches let go of them, 400 for each look and 64 KiB for each stream
XDG_RUNTIME_DIR=$(mktemp -d /tmp/ringbox-heap.XXXXXX) && export XDG_RUNTIME_DIR
trap 'rm -rf "$XDG_RUNTIME_DIR"' EXIT
mkfifo "$XDG_RUNTIME_DIR/in" || exit 1
exec 3<>"$XDG_RUNTIME_DIR/in"
cat >"$XDG_RUNTIME_DIR/load.py" <<'P'
import os, socket, sys
def look():
    for i in range(3000):
        with open("/proc/%d/stat" % os.getpid()) as f: f.read()
def die():
    for i in range(300):
        pid = os.fork()
        if pid == 0:
            for name in "stat", "status", "net/unix": open("/proc/self/" + name).read()
            os._exit(0)
        os.waitpid(pid, 0)
def streams():
    pairs = [socket.socketpair() for i in range(12)]
    for a, b in pairs: a.send(b"x" * 60000)
for line in sys.stdin:
    {"look": look, "die": die, "streams": streams}[line.strip()]()
    print("done", flush=True)
P
chmod 755 "$XDG_RUNTIME_DIR" && chmod 644 "$XDG_RUNTIME_DIR/load.py"
"$ringbox" run --name heap --timeout 100 -- /usr/bin/python3 -c "$(cat "$XDG_RUNTIME_DIR/load.py")" <"$XDG_RUNTIME_DIR/in" >"$XDG_RUNTIME_DIR/out" 3>&- &
runner=$!
lines=0
go() { # LOAD: and what the heap holds then
    local i
    echo "$1" >&3
    for i in $(seq 600); do
        [ "$(wc -l <"$XDG_RUNTIME_DIR/out")" -gt $lines ] && break
        sleep 0.1
    done
    sleep 1 # idle: what is kept for the next one goes
    "$ringbox" stats --json heap | grep -oE '"heap_bytes":[0-9]+' | cut -d: -f2
}
failed=0
for load in look die streams; do
    first=${second:-}
    if [ $load != streams ]; then # whose first time leaves what the second uses
        first=$(go $load)
        lines=$((lines + 1))
    fi
    second=$(go $load)
    lines=$((lines + 1))
    echo "$load: $first, then $second bytes"
    [ "${second:-0}" -gt 0 ] && [ "$second" -le $((first + MORE)) ] || { echo "heap.sh: $load: grows" >&2; failed=1; }
done
exec 3>&-
"$ringbox" kill heap
wait $runner 2>/dev/null
exit $failed
