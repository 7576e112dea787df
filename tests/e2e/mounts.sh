#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mounts.sh RINGBOX    --bind, --tmpfs, --rw: what reaches the host and what does not, whose it is, who holds
# which lock. As root everything is done once more as an ordinary user.
set -u
ringbox=$(realpath "$1") self=$(realpath "$0")
tmp=$(mktemp -d /tmp/ringbox-mounts.XXXXXX) || exit 1
chmod 755 "$tmp"
trap 'rm -rf "$tmp"' EXIT
failed=0
bad() { echo "mounts.sh ($(id -un)): $*"; failed=1; }
rb() { timeout -k 5 60 "$ringbox" run "$@"; }
is() { [ "$2" = "$3" ] || bad "$1: '$2', not '$3'"; }

mkdir "$tmp/rw" "$tmp/ro" "$tmp/root"
echo secret >"$tmp/ro/file"
chmod 644 "$tmp/ro/file"
umask 022

# What is made inside is on the host at once, with owner and mode as if made there; and the other way round.
rb --bind "$tmp/rw:/w:rw" --cwd /w -- bash -c '
    umask 027; echo one >plain; mkdir dir; ln -s plain link; ln plain hard; mkfifo fifo; : >gone
    umask 0; : >open; install -m 4711 /dev/null setuid; install -d -m 2770 setgid; : >setgid/in
    mv dir moved; rm gone; printf x >>plain; touch -d @1000000000 open; truncate -s 1G sparse
    mv --exchange a b 2>/dev/null; [ "$(stat -c %s /w/sparse)" = 1073741824 ]' || bad "writing: status $?"
(
    mkdir "$tmp/native" && cd "$tmp/native" || exit 1
    umask 027; echo one >plain; mkdir dir; ln -s plain link; ln plain hard; mkfifo fifo
    umask 0; : >open; install -m 4711 /dev/null setuid; install -d -m 2770 setgid; : >setgid/in
    mv dir moved; printf x >>plain; touch -d @1000000000 open; truncate -s 1G sparse
)
list() { (cd "$1" && find . -mindepth 1 -printf '%p %y %m %U %G %n %s %l\n' | sed '/ d /s/ [0-9]* $//' | sort); }
is "what was made" "$(list "$tmp/rw")" "$(list "$tmp/native")"
is "time" "$(stat -c %Y "$tmp/rw/open")" 1000000000
is "blocks of a hole" "$(stat -c %b "$tmp/rw/sparse")" 0
rm "$tmp/rw/sparse"
rb --bind "$tmp/rw:/w:rw" -- bash -c 'echo ready; read -r _; cat /w/late; ls /w; [ ! -e /w/plain ]' \
    < <(sleep 1; echo new >"$tmp/rw/late"; rm -f "$tmp/rw/plain"; echo go) >"$tmp/out" || bad "changes from outside"
grep -qx new "$tmp/out" || bad "a new file of the host is not seen"
ls "$tmp/rw" | diff - <(sed -n '3,$p' "$tmp/out") >/dev/null || bad "listing: $(cat "$tmp/out")"

# Device nodes are not made.
for kind in c b; do
    rb --bind "$tmp/rw:/w:rw" -- mknod /w/node $kind 1 3 2>/dev/null && bad "mknod $kind"
done
[ ! -e "$tmp/rw/node" ] || bad "a device was made"

# Read-only is: nothing changes, whatever is tried.
find "$tmp/ro" -printf '%p %m %U %s %T@ %C@\n' >"$tmp/before"
rb --bind "$tmp/ro:/r" --cwd /r -- bash -c '
    echo x >file; echo x >>file; : >new; mkdir d; ln file l; ln -s x s; mv file f; rm file; chmod 600 file; chown 1 file
    touch file; truncate -s 0 file; mkfifo p; setfattr -n user.x -v y file; exec 3<>file' 2>/dev/null
find "$tmp/ro" -printf '%p %m %U %s %T@ %C@\n' | diff "$tmp/before" - || bad "a read-only mount was changed"
is "reading it" "$(rb --bind "$tmp/ro:/r:ro" -- cat /r/file)" secret
is "one file" "$(rb --bind "$tmp/ro/file:/etc/passwd" -- cat /etc/passwd)" secret
rb --bind "$tmp/rw/open:/one:rw" -- sh -c 'echo data >/one; rm /one' 2>/dev/null && bad "a mount point was removed"
is "one file, written" "$(cat "$tmp/rw/open")" data

# Beneath it only: no way up, and links lead to what is there inside.
ln -s /etc/hostname "$tmp/rw/abs"; ln -s ../ro/file "$tmp/rw/up"
is "absolute link" "$(rb --bind "$tmp/rw:/w" -- cat /w/abs)" "$(cat /etc/hostname)"
rb --bind "$tmp/rw:/deep/w" -- cat /deep/w/up 2>/dev/null && bad "a link led out of its mount"
is "dots" "$(rb --bind "$tmp/rw:/deep/w" -- ls /deep/w/..)" w

# tmpfs: empty, bounded, gone; --rw: the host's own; without it: nothing
rb --tmpfs "/etc:size=64K" -- sh -c '[ -z "$(ls /etc)" ] && ! head -c 100000 /dev/zero >/etc/x; [ "$(stat -c %s /etc/x)" = 65536 ]' \
    2>/dev/null || bad "tmpfs"
rb --rw -- sh -c "echo kept >$tmp/root/f" && is "--rw" "$(cat "$tmp/root/f")" kept
rb -- sh -c "echo lost >$tmp/root/f" && is "without --rw" "$(cat "$tmp/root/f")" kept

# Shared writable mappings are the host's pages.
cat >"$tmp/map.py" <<'P'
import mmap, os, sys
f = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(f, 8192)
m[0:5] = b"hello"
m[4096:4100] = b"page"
os.ftruncate(f, 4096)
assert os.pread(f, 5, 0) == b"hello"
os.pwrite(f, b"J", 0)
assert m[0:5] == b"Jello"
P
head -c 8192 /dev/zero >"$tmp/rw/map"
rb --bind "$tmp/rw:/w:rw" --bind "$tmp/map.py:/map.py" -- python3 /map.py /w/map || bad "mapping: $?"
is "mapped" "$(head -c 5 "$tmp/rw/map") $(stat -c %s "$tmp/rw/map")" "Jello 4096"

# Locks: a native process and one inside see each other's, of each kind.
cat >"$tmp/lock.py" <<'P'
import fcntl, os, struct, sys
act, path, kind = sys.argv[1:4]
f = os.open(path, os.O_RDWR)
try:
    if kind == "flock":
        fcntl.flock(f, fcntl.LOCK_EX | (fcntl.LOCK_NB if act != "wait" else 0))
    else:
        command = {"posix": (fcntl.F_SETLK, fcntl.F_SETLKW), "ofd": (37, 38)}[kind][act == "wait"]
        fcntl.fcntl(f, command, struct.pack("hhlli4x", fcntl.F_WRLCK, 0, 100, 50, 0))
    print("held", flush=True)
except BlockingIOError:
    print("busy")
if act == "hold":
    sys.stdin.read()
P
cp "$tmp/lock.py" "$tmp/rw/lock.py"
: >"$tmp/rw/locked"
inside=(rb --bind "$tmp/rw:/w:rw" -- python3 /w/lock.py)
native=(python3 "$tmp/lock.py")
# holds ACT-OF... FILE-OF...: one side holds, the other tries, then waits until it lets go
cross() {
    local kind=$1 holder=$2 other=$3 at=$4 there=$5
    local -n hold=$holder try=$other
    mkfifo "$tmp/go" "$tmp/told"
    "${hold[@]}" hold "$at" "$kind" <"$tmp/go" >"$tmp/told" &
    exec 8>"$tmp/go" 9<"$tmp/told"
    read -r -t 30 answer <&9
    is "$kind: $holder holds" "$answer" held
    is "$kind: $holder holds, $other tries" "$("${try[@]}" try "$there" "$kind")" busy
    "${try[@]}" wait "$there" "$kind" >"$tmp/waited" 8>&- 9<&- &
    local waiter=$!
    sleep 1
    [ ! -s "$tmp/waited" ] || bad "$kind: $other did not wait for $holder"
    exec 8>&- 9<&-
    wait "$waiter"
    is "$kind: $other waited" "$(cat "$tmp/waited")" held
    wait
    rm "$tmp/go" "$tmp/told"
}
for kind in posix ofd flock; do
    cross $kind native inside "$tmp/rw/locked" /w/locked
    cross $kind inside native /w/locked "$tmp/rw/locked"
done
# exclusive mounts keep theirs
(exec 9<>"$tmp/rw/locked"; flock 9; rb --bind "$tmp/rw:/w:rw,exclusive" -- flock -n /w/locked true) || bad "exclusive: a lock was asked for outside"

# sqlite3 writes while a native process holds its lock, waits for it, and both see all rows.
if command -v sqlite3 >/dev/null; then
    db=$tmp/rw/db
    sqlite3 "$db" 'create table t(x)'
    mkfifo "$tmp/sql"
    sqlite3 "$db" <"$tmp/sql" &
    exec 8>"$tmp/sql"
    echo 'begin exclusive; insert into t values(1);' >&8
    sleep 0.5
    rb --bind "$tmp/rw:/w:rw" -- sqlite3 /w/db 'insert into t values(2)' 2>"$tmp/err" && bad "sqlite3 wrote to a locked database"
    grep -q 'database is locked' "$tmp/err" || bad "sqlite3: $(cat "$tmp/err")"
    rb --bind "$tmp/rw:/w:rw" -- sqlite3 -cmd '.timeout 30000' /w/db 'insert into t values(3)' 8>&- &
    writer=$!
    sleep 1
    echo 'commit;' >&8
    exec 8>&-
    wait "$writer" || bad "sqlite3 did not get the lock"
    wait
    is "rows" "$(sqlite3 "$db" 'select x from t order by x' | tr '\n' ' ')" "1 3 "
    for mode in delete wal; do
        sqlite3 "$db" "pragma journal_mode=$mode" >/dev/null
        sql='.timeout 60000\n'
        for _ in $(seq 20); do sql+='insert into t values(9);\n'; done
        printf "$sql" | sqlite3 "$db" & printf "$sql" | rb --bind "$tmp/rw:/w:rw" -- sqlite3 /w/db
        wait
        is "integrity, $mode" "$(sqlite3 "$db" 'pragma integrity_check')" ok
    done
    is "rows of both" "$(sqlite3 "$db" 'select count(*) from t where x = 9')" 80
fi

if [ "$(id -u)" = 0 ] && [ $failed = 0 ] && [ -z "${AS_USER-}" ]; then
    AS_USER=1 setpriv --reuid 1000 --regid 1000 --clear-groups "$self" "$ringbox" || failed=1
fi
exit $failed
