#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# host_changes.sh RINGBOX    what the host changes beneath a read-only export while a sandbox runs is seen
# inside within a second: names that come, go and move, sizes, modes, contents, of files looked at before;
# and a host that changes a directory all the time costs few messages.
set -u
rb=$1
tmp=$(mktemp -d) || exit 1
mkdir "$tmp/d" "$tmp/d/sub" "$tmp/to" "$tmp/busy"
cd "$tmp" || exit 1
pid=
finish() {
    [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null
    rm -rf "$tmp"
}
trap finish EXIT
failed=0
bad() { echo "host_changes.sh: $*"; failed=1; }

mkfifo in out
# Inside: each line is a command; its output ends with a line of its own.
timeout 120 "$rb" run --stats=json,"$tmp/stats" --cwd "$tmp" "${@:2}" -- \
    bash -c 'while read -r line; do eval "$line" 2>&1; echo "--end"; done' <in >out 2>err &
pid=$!
exec 7>in 8<out
inside() {
    local line
    echo "$1" >&7
    got=
    while read -t 60 -r -u 8 line && [ "$line" != --end ]; do got+=$line$'\n'; done
    got=${got%$'\n'}
}
# wants COMMAND OUTPUT: within a second
wants() {
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do
        inside "$1"
        [ "$got" = "$2" ] && return
        sleep 0.1
    done
    bad "$1: '$got', not '$2'"
}

echo one >d/f
echo gone >d/g
echo deep >d/sub/x
inside "exec 9<d/f" # open before and after
wants "ls d" $'f\ng\nsub'
wants "cat d/f d/g d/sub/x; stat -c %s-%a d/f; test -e d/new || echo none" $'one\ngone\ndeep\n4-644\nnone'

echo new >d/new
rm d/g
echo longer >>d/f
chmod 600 d/f
wants "ls d; cat d/new" $'f\nnew\nsub\nnew'
wants "test -e d/g || echo none" none
wants "cat d/f; stat -c %s-%a d/f; stat -L -c %s /proc/self/fd/9" $'one\nlonger\n11-600\n11'

# What is read again and again in small pieces: written in place, shrunk in the middle of a page and to nothing, grown.
again() {
    inside "for i in 1 2 3 4 5 6 7 8 9; do dd bs=4096 count=\$((\$i % 2 + 1)) if=d/again 2>/dev/null | md5sum; done | sort -u | sha1sum"
    local got_inside=$got
    got=$(for i in 1 2; do dd bs=4096 count=$i if=d/again 2>/dev/null | md5sum; done | sort -u | sha1sum)
    [ "$got" = "$got_inside" ]
}
yes a | head -c 12000 >d/again
settled() {
    local i
    for i in 1 2 3 4 5 6 7 8 9 10; do
        again && return
        sleep 0.1
    done
    bad "read again, $1"
}
settled first
yes b | head -c 12000 >in-place
dd if=in-place of=d/again conv=notrunc status=none; settled "written in place"
truncate -s 5000 d/again; settled shrunk
truncate -s 0 d/again; settled emptied
yes c | head -c 9000 >>d/again; settled grown
rm d/again in-place

mv d/f to/f2
mv d/sub to
wants "ls d to; cat to/f2 to/sub/x; test -e d/f || echo none" $'d:\nnew\n\nto:\nf2\nsub\none\nlonger\ndeep\nnone'
echo other >tmp-f && mv tmp-f to/f2 # another file under the name
wants "cat to/f2; stat -c %s to/f2" $'other\n6'

# What the sandbox changed itself stays as it is.
inside "echo mine >to/own; rm to/f2"
touch to/from-host
wants "ls to; cat to/own" $'from-host\nown\nsub\nmine'

# A busy host: no more is told than was looked at, four times a second.
inside "ls busy"
(for ((i = 0; i < 3000; i++)); do : >"busy/$i"; rm "busy/$i"; done) &
inside 'e=$((SECONDS + 2)); while ((SECONDS < e)); do test -e busy/x; done'
wait $!
exec 7>&-
wait "$pid" || bad "exit status $?"
pid=
told=$(grep -o '"p9_changes": *[0-9]*' stats | grep -o '[0-9]*$')
{ [ "${told:-0}" -ge 5 ] && [ "$told" -le 60 ]; } || bad "told of ${told:-no} changes"
[ -s err ] && bad "$(head -3 err)"
exit $failed
