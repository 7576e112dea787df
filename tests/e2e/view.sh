#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# view.sh RINGBOX    what of the host is seen by default, as root and as an ordinary user; --show-view
set -u
ringbox=$(realpath "$1") self=$(realpath "$0")
tmp=$(mktemp -d /tmp/ringbox-view.XXXXXX) || exit 1
chmod 755 "$tmp"
trap 'cd /; rm -rf "$tmp"' EXIT
failed=0 homes=/home
bad() { echo "view.sh ($(id -un)): $*"; failed=1; }
rb() { timeout -k 5 60 "$ringbox" run "$@"; }
is() { [ "$2" = "$3" ] || bad "$1: '$2', not '$3'"; }
hidden() { # ARGUMENTS... : the command fails and shows nothing
    local out
    out=$(rb "$@" 2>/dev/null) && bad "not hidden: $*"
    [ -z "$out" ] || bad "$* shows: $out"
}
root=false
[ "$(id -u)" = 0 ] && root=true

mkdir -p "$tmp/open" "$tmp/shut/in"
echo all >"$tmp/open/all"; chmod 644 "$tmp/open/all"
echo own >"$tmp/open/own"; chmod 600 "$tmp/open/own"
echo deep >"$tmp/shut/in/file"; chmod 700 "$tmp/shut"
cd / || exit 1

# Homes are empty, whoever asks; the caller's own is there to write in, for the time of the sandbox.
is "/home" "$(HOME=$homes/somebody rb -- ls /home)" somebody
is "/root" "$(HOME=/root rb -- ls -A /root)" ""
is "home" "$(HOME=$homes/somebody rb -- sh -c 'echo x >~/f; cat ~/f')" x
[ ! -e $homes/somebody ] || bad "a home was made on the host"

# What only root may read stays unread; what everybody may is there.
is "open file" "$(rb -- cat "$tmp/open/all")" all
if $root; then
    hidden -- cat "$tmp/open/own"
    hidden -- cat "$tmp/shut/in/file"
    hidden -- ls "$tmp/shut"
    hidden -- cat /etc/shadow
    hidden -- sh -c "cp '$tmp/open/own' /copy && cat /copy"
else
    is "own file" "$(rb -- cat "$tmp/open/own")" own
fi

# --rootfs and --bind are literal.
is "--rootfs" "$(rb --rootfs / -- cat "$tmp/open/own" "$tmp/shut/in/file" | tr '\n' ' ')" "own deep "
is "--bind" "$(rb --bind "$tmp/shut:/s" --bind "$tmp/open/own:/own" -- cat /own /s/in/file | tr '\n' ' ')" "own deep "

# The current directory is as the caller sees it, however closed the way there; changes go to memory.
cd "$tmp/shut/in" || exit 1
is "current directory" "$(rb -- sh -c 'cat file; echo new >file; cat "$PWD/file"; ls ..' | tr '\n' ' ')" "deep new in "
is "on the host" "$(cat file)" deep
cd "$tmp/shut" && is "closed itself" "$(rb -- cat in/file)" deep
if $root && mkdir "$tmp/h" && cd "$tmp/h"; then
    # in a home: needs one to stand in
    home=$(mktemp -d $homes/ringbox-view.XXXXXX) && mkdir "$home/a" "$home/b" && echo here >"$home/a/f" && chmod -R go-rwx "$home"
    cd "$home/a" && is "in a home" "$(rb -- sh -c 'cat f; ls ..; ls /home' | tr '\n' ' ')" "here a ${home##*/} "
    cd /home && is "/home itself" "$(rb -- cat "${home##*/}/a/f")" here
    cd / && rm -rf "$home"
fi

# --show-view says so, and runs nothing.
cd "$tmp/shut/in" || exit 1
rb --show-view --bind "$tmp/open:/o:rw" --tmpfs /scratch -- touch "$tmp/open/ran" >"$tmp/out" || bad "--show-view: status $?"
[ ! -e "$tmp/open/ran" ] || bad "--show-view ran the command"
for line in "^/ +/ .*memory" '^/home +- +empty' '^/root +- +empty' "^/o +$tmp/open +written through, shared" '^/scratch +- +empty'; do
    grep -qE "$line" "$tmp/out" || bad "--show-view: no line '$line' in $(cat "$tmp/out")"
done
if $root; then grep -qE "^$tmp/shut/in +$tmp/shut/in " "$tmp/out" || bad "--show-view: not the current directory"; fi
rb --show-view --rootfs "$tmp/open" >"$tmp/out" && is "--show-view --rootfs" "$(wc -l <"$tmp/out")" 4

if $root && [ $failed = 0 ]; then
    cd / && setpriv --reuid 1000 --regid 1000 --clear-groups "$self" "$ringbox" || failed=1
fi
exit $failed
