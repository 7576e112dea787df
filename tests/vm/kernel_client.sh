#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# kernel_client.sh RINGBOX    Linux's own 9P client mounts what `ringbox serve` serves, in a machine of its own
# (boot): tar, find, git and small calls, each side seeing what the other made.
set -u
ringbox=$(realpath "$1")
if [ "${2-}" != inside ]; then
    "$(dirname "$0")/boot" --timeout 1500 -- "$(realpath "$0")" "$ringbox" inside | tee /tmp/ringbox-vm-out.$$
    status=${PIPESTATUS[0]}
    grep -qE '^kernel_client: ok$|^skip:' /tmp/ringbox-vm-out.$$ || { [ "$status" != 0 ] || status=1; }
    rm -f /tmp/ringbox-vm-out.$$
    exit "$status"
fi

failed=0
bad() { echo "kernel_client: $*" | cut -c 1-300 | head -8; failed=1; }
stage() { echo "$1 ($SECONDS s)"; }
is() { [ "$2" = "$3" ] || bad "$1: '$2', not '$3'"; }
cd /tmp || exit 1
mkdir dir ro mnt src
exported=/tmp/dir
"$ringbox" serve --rw dir s & "$ringbox" serve dir r &
for _ in $(seq 200); do [ -S s ] && [ -S r ] && break; sleep 0.1; done
# Names, kinds, rights, owners, sizes, times (whole seconds are all that this client sets), targets: of directories size and
# links differ by file system.
list() { (cd "$1" && find . -mindepth 1 \( -type d -printf '%p %y %m %U %G\n' -o -printf '%p %y %m %U %G %n %s %T@ %l\n' \) | sed 's/\.[0-9]\{10\} / /' | sort); }
sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 cksum); }
same() {
    list "$2" >/tmp/list-a; list "$3" >/tmp/list-b
    cmp -s /tmp/list-a /tmp/list-b || bad "$1: $(diff /tmp/list-a /tmp/list-b)"
    is "$1: contents" "$(sums "$2" | cksum)" "$(sums "$3" | cksum)"
}

# --- a tree with all that tar knows ---
cp -a /usr/include/linux/netfilter src/linux
head -c 1500000 /dev/urandom >src/big
truncate -s 4M src/sparse; printf end | dd of=src/sparse bs=1 seek=2M conv=notrunc status=none
ln -s linux src/link; ln -s /nowhere src/dangling; ln src/big src/hard; mkfifo src/fifo; mkdir src/empty
mkdir -m 3711 src/odd; : >src/odd/none; chmod 0 src/odd/none; : >"src/ a name	with
lines"; : >"src/$(printf 'n%.0s' $(seq 255))"
chown 12:34 src/odd; chown -h 56:78 src/link; touch -d @1000000000.123456789 src/empty src/big
mkdir src/many; (cd src/many && seq -f 'entry-%05g' 600 | xargs touch)

for cache in none loose; do
    o=trans=unix,version=9p2000.L,msize=262144,cache=$cache,posixacl
    mount -t 9p -o "$o" s mnt || { bad "mount, cache=$cache"; break; }
    tar -C src --format=posix -cf - . | tar -C mnt --same-owner -xpf - || bad "tar, cache=$cache: $?"
    sync
    same "tar in, cache=$cache, by the host" src dir
    same "tar in, cache=$cache, by the mount" src mnt
    mkdir out
    tar -C mnt --format=posix -cf - . | tar -C out -xpf - || bad "tar out, cache=$cache"
    same "tar out, cache=$cache" src out
    is "find" "$(find mnt/many -name 'entry-*' | wc -l)" 600
    stage "tar, cache=$cache"
    rm -rf out mnt/* || bad "rm -rf, cache=$cache"
    is "left, cache=$cache" "$(ls -A dir)" ""
    umount mnt || bad "umount"
done

# --- git ---
mount -t 9p -o trans=unix,version=9p2000.L,msize=262144,cache=mmap s mnt || bad "mount, cache=mmap"
export GIT_CONFIG_COUNT=3 GIT_CONFIG_KEY_0=user.name GIT_CONFIG_VALUE_0=t GIT_CONFIG_KEY_1=user.email GIT_CONFIG_VALUE_1=t@t \
    GIT_CONFIG_KEY_2=safe.directory GIT_CONFIG_VALUE_2='*' GIT_AUTHOR_DATE=@1700000000 GIT_COMMITTER_DATE=@1700000000
mkdir tree; cp -r /usr/include/linux/can /usr/include/linux/dvb tree/
trees=()
for at in mnt/git /tmp/native; do
    mkdir "$at"; cp -r tree/. "$at"
    (
        cd "$at" && git init -q && git add . && git commit -qm one && echo more >>can/raw.h && git commit -qam two &&
            git mv can moved && git commit -qm three && git gc -q && git fsck --strict && [ -z "$(git status --porcelain)" ]
    ) >/tmp/log 2>&1 || bad "git in $at: $(tail -3 /tmp/log)"
    trees+=("$(git -C "$at" rev-parse HEAD)")
done
is "git: the same commit" "${trees[0]}" "${trees[1]}"
git clone -q mnt/git mnt/clone 2>/tmp/log && [ -z "$(git -C mnt/clone status --porcelain)" ] || bad "git clone: $(tail -3 /tmp/log)"
same "what git left" dir mnt
is "git by the host" "$(git -C dir/clone fsck 2>&1 | grep -c -v '^Checking')" 0

stage git
# --- calls one by one ---
cat >calls.py <<'P'
import errno, fcntl, mmap, os, struct, sys
mnt, host = sys.argv[1:]
def fails(e, f, *a):
    try:
        f(*a)
    except OSError as x:
        assert x.errno == e, x
        return
    raise AssertionError("%s%s went well" % (f.__name__, a))
at = lambda n: os.path.join(mnt, n)
f = os.open(at("f"), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o640)
fails(errno.EEXIST, os.open, at("f"), os.O_CREAT | os.O_EXCL)
os.write(f, b"0123456789")
a = os.open(at("f"), os.O_WRONLY | os.O_APPEND)
with open(os.path.join(host, "f"), "ab") as h:
    h.write(b"host")
os.write(a, b"end")
assert open(os.path.join(host, "f"), "rb").read() == b"0123456789hostend"
m = mmap.mmap(f, 17)
m[0:2] = b"MM"
m.flush()
m.close()
assert open(os.path.join(host, "f"), "rb").read(3) == b"MM2"
os.ftruncate(f, 5)
assert os.stat(os.path.join(host, "f")).st_size == 5
os.rename(at("f"), at("g"))
os.unlink(at("g"))
assert os.pread(f, 10, 0) == b"MM234" and not os.path.exists(os.path.join(host, "g"))
os.write(f, b"still")
os.close(f)
os.mkdir(at("d"))
fails(errno.EISDIR, os.unlink, at("d"))
fails(errno.ENOENT, os.stat, at("d/none"))
fails(errno.ENAMETOOLONG, os.stat, at("n" * 256))
open(at("d/x"), "w").close()
fails(errno.ENOTEMPTY, os.rmdir, at("d"))
os.chmod(at("d/x"), 0o4751)
os.chown(at("d/x"), 5, 6)
os.utime(at("d/x"), ns=(1, 1000000002))
s = os.stat(os.path.join(host, "d/x"))
assert (s.st_uid, s.st_gid, int(s.st_mtime)) == (5, 6, 1), s
try: # what the exported file system has, in Linux 6.1 no attributes on a tmpfs
    os.setxattr(os.path.join(host, "d/x"), "user.k", b"value")
    assert os.getxattr(at("d/x"), "user.k") == b"value" and "user.k" in os.listxattr(at("d/x"))
    os.removexattr(at("d/x"), "user.k")
    fails(errno.ENODATA, os.getxattr, os.path.join(host, "d/x"), "user.k")
except OSError as x:
    assert x.errno == errno.ENOTSUP
    fails(errno.ENOTSUP, os.setxattr, at("d/x"), "user.k", b"value")
v = os.statvfs(at(""))
w = os.statvfs(host)
assert (v.f_bsize, v.f_blocks) == (w.f_bsize, w.f_blocks)
# Locks go to the server: a native process sees them.
f = os.open(at("d/x"), os.O_RDWR)
h = os.open(os.path.join(host, "d/x"), os.O_RDWR)
lock = struct.pack("hhlli4x", fcntl.F_WRLCK, 0, 10, 10, 0)
fcntl.fcntl(f, fcntl.F_SETLK, lock)
fails(errno.EAGAIN, fcntl.fcntl, h, 37, lock) # F_OFD_SETLK
fcntl.fcntl(f, fcntl.F_SETLK, struct.pack("hhlli4x", fcntl.F_UNLCK, 0, 10, 10, 0))
fcntl.fcntl(h, 37, lock)
P
python3 calls.py mnt dir || bad "calls: status $?"
umount mnt || bad "umount"

stage calls
# --- read-only ---
echo text >dir/file
mount -t 9p -o "trans=unix,version=9p2000.L,aname=$exported" r ro || bad "mount with a name"
is "read-only: reading" "$(cat ro/file)" text
for cmd in "touch ro/new" "rm ro/file" "chmod 777 ro/file" "mv ro/file ro/x" "ln ro/file ro/l" "mkdir ro/m" "truncate -s 0 ro/file" "chown 1 ro/file"; do
    $cmd 2>/dev/null && bad "read-only: $cmd"
done
umount ro
mount -t 9p -o trans=unix,version=9p2000.L,aname=/etc r ro 2>/dev/null && bad "another name"
is "read-only: unchanged" "$(cat dir/file)" text
kill %1 %2
wait
[ $failed = 0 ] && echo "kernel_client: ok"
exit $failed
