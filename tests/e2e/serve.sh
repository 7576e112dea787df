#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# serve.sh RINGBOX    our file server alone: for diod's client tools (where they are installed), for sandboxes;
# read-only unless told otherwise, what is said of wrong arguments, its limit of clients, its end
set -u
ringbox=$(realpath "$1")
tmp=$(mktemp -d /tmp/ringbox-serve.XXXXXX) || exit 1
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait; rm -rf "$tmp"' EXIT
failed=0
bad() { echo "serve.sh: $*" | cut -c 1-200 | head -5; failed=1; }
is() { [ "$2" = "$3" ] || bad "$1: '$2', not '$3'"; }
sock=$tmp/s
start() {
    "$ringbox" serve "$@" "$tmp/dir" "$sock" &
    server=$!
    for _ in $(seq 100); do [ -S "$sock" ] && break; sleep 0.05; done
    [ -S "$sock" ] || bad "serve $*: no socket"
}
stop() {
    kill "$server"
    wait "$server" || bad "serve ended with $?"
    [ ! -e "$sock" ] || bad "the socket is left"
    server=
}

mkdir -p "$tmp/dir/sub/deep"
head -c 3000000 /dev/urandom >"$tmp/dir/sub/data"
echo dated >"$tmp/dir/date"
truncate -s 1G "$tmp/dir/zero"
: >"$tmp/dir/null"
ln -s sub/data "$tmp/dir/link"
for i in $(seq 1500); do : >"$tmp/dir/sub/deep/a-rather-long-name-of-a-file-$i"; done

# --- diod's tools: plain 9P2000.L, a thread each ---
start --rw --aname ctl
is "mode of the socket" "$(stat -c %a "$sock")" 600
if command -v diodls >/dev/null; then
    for msize in 8192 65536; do
        is "diodls, msize $msize" "$(diodls -m $msize -s "$sock" /sub/deep 2>&1 | sort)" "$(ls "$tmp/dir/sub/deep" | sort)"
        diodcat -m $msize -s "$sock" sub/data 2>&1 | cmp - "$tmp/dir/sub/data" || bad "diodcat, msize $msize"
    done
    is "diodls -l" "$(diodls -l -s "$sock" 2>&1 | awk '{print substr($1, 2, 9), $2, $3, $4, $5, $NF}' | grep -v '\.$' | sort)" \
        "$(cd "$tmp/dir" && stat -c '%A %h %U %G %s %n' date link null sub zero | cut -c 2- | sort)"
    diodcat -s "$sock" sub/none 2>&1 | grep -q 'No such file' || bad "diodcat of what is not there"
    for load in "" -g; do
        diodload $load -r 1 -s "$sock" 2>&1 | grep -qE '^diodload: [1-9][0-9]* ops/s' || bad "diodload $load"
    done
else
    echo "diod's tools are not installed: left out"
fi

# --- a sandbox as its client, who may write ---
is "inside" "$(timeout 60 "$ringbox" run --mount "9p:$sock:/m" -- sh -c 'cksum <"/m/sub/data"; echo x >>/m/new; mv /m/new /m/sub/new; ls /m/sub/deep | wc -l')" \
    "$(cksum <"$tmp/dir/sub/data")
1500"
is "what was written" "$(cat "$tmp/dir/sub/new")" x

# --- a second server at the same socket; clients: the limit and one beyond ---
timeout 10 "$ringbox" serve "$tmp/dir" "$sock" 2>"$tmp/err" && bad "two servers at one socket"
grep -q '^ringbox: serve: .*in use' "$tmp/err" || bad "second server: $(cat "$tmp/err")"
python3 - "$sock" <<'P' || bad "limit of clients"
import socket, struct, sys
hello = struct.pack("<IBHIH", 21, 100, 0xffff, 8192, 8) + b"9P2000.L"
def client():
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.sendall(hello)
    return s
many = [client() for _ in range(64)]
for s in many:
    s.settimeout(20)
    assert s.recv(100)[4] == 101
late = client()
late.settimeout(0.5)
try:
    sys.exit("one more than the limit was answered: %r" % late.recv(100))
except TimeoutError:
    pass
many.pop().close()
late.settimeout(20)
assert late.recv(100)[4] == 101
# what is no message ends that client alone
many[0].sendall(b"\0" * 100)
assert many[0].recv(100) == b""
many[1].sendall(hello)
assert many[1].recv(100)[4] == 101
P
# --- long reads, which are not copied: each length, each end, against the file, and what follows them ---
python3 - "$sock" "$tmp/dir/sub/data" <<'P' || bad "long reads"
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
want = open(sys.argv[2], "rb").read()
def send(kind, tag, body):
    s.sendall(struct.pack("<IBH", 7 + len(body), kind, tag) + body)
def take():
    head = s.recv(4, socket.MSG_WAITALL)
    return head + s.recv(struct.unpack("<I", head)[0] - 4, socket.MSG_WAITALL)
def text(t):
    return struct.pack("<H", len(t)) + t
def call(kind, body):
    send(kind, 1, body)
    r = take()
    assert r[4] == kind + 1, (kind, r[:40])
    return r
r = call(100, struct.pack("<I", 1 << 20) + text(b"9P2000.L"))
assert struct.unpack("<I", r[7:11])[0] == 1 << 20
call(104, struct.pack("<II", 0, 0xffffffff) + text(b"") + text(b"") + struct.pack("<I", 0))
call(110, struct.pack("<IIH", 0, 1, 2) + text(b"sub") + text(b"data"))
call(12, struct.pack("<II", 1, 0))
most = (1 << 20) - 24
lengths = [1, 32767, 32768, 65536, 500001, most - 1, most, most + 1]
offsets = [0, 1, 23, 24, 25, 4095, 4096, len(want) - most, len(want) - 32768, len(want) - 40000, len(want) - 1, len(want), len(want) + 1]
asked = [(o, n) for o in offsets for n in lengths]
for i in range(0, len(asked), 4): # four under way, a getattr between them
    for tag, (o, n) in enumerate(asked[i:i + 4]):
        send(116, tag, struct.pack("<IQI", 1, o, n))
        send(24, 100, struct.pack("<IQ", 1, 0x7ff))
    for tag, (o, n) in enumerate(asked[i:i + 4]):
        r = take()
        part = want[o:o + min(n, most)]
        assert r[4] == 117 and struct.unpack("<HI", r[5:11]) == (tag, len(part)) and r[11:] == part, (o, n, r[:20])
        assert take()[4] == 25
# one that goes away in the middle of a reply
send(116, 1, struct.pack("<IQI", 1, 0, most))
s.recv(1000)
P
stop

# --- read-only; a killed one's socket is replaced ---
start
kill -9 "$server"; wait "$server" 2>/dev/null
[ -S "$sock" ] || bad "kill -9 removed the socket?"
"$ringbox" serve "$tmp/dir" "$sock" &
server=$!
for _ in $(seq 100); do
    [ "$(timeout 60 "$ringbox" run --mount "9p:$sock:/m:ro" -- cat /m/date 2>/dev/null)" = dated ] && break
    sleep 0.1
done
timeout 60 "$ringbox" run --mount "9p:$sock:/m:aname=$tmp/dir" -- sh -c '[ "$(cat /m/date)" = dated ] && ! true >/m/new && ! rm /m/date && ! chmod 600 /m/date' \
    2>/dev/null || bad "read-only"
[ ! -e "$tmp/dir/new" ] && [ -e "$tmp/dir/date" ] || bad "a read-only export was changed"
stop

# --- wrong arguments ---
for args in "" "$tmp/dir" "$tmp/none $sock" "--nonsense $tmp/dir $sock" "$tmp/dir $sock more" "--aname" "$tmp/dir $tmp/none/s" "/dev/null $sock"; do
    # shellcheck disable=SC2086
    timeout 10 "$ringbox" serve $args >/dev/null 2>"$tmp/err" </dev/null
    [ $? = 125 ] && [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q '^ringbox: serve' "$tmp/err" || bad "serve $args: $(cat "$tmp/err")"
done
long=$tmp/$(printf 'n%.0s' $(seq $((107 - ${#tmp} - 1))))
[ ${#long} = 107 ] || bad "a path of ${#long} bytes"
timeout 10 "$ringbox" serve "$tmp/dir" "${long}x" 2>"$tmp/err" && bad "too long a path"
sock=$long
start
stop
exit $failed
