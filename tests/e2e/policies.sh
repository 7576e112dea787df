#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# policies.sh RINGBOX GUESTS [OPTION...]   --pledge and --unveil: the matrix of promises and calls, real programs
#                                          under narrow sets, what is refused and how it is told
set -u
rb=$1 guests=$2
shift 2
options=("$@")
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
chmod 755 "$tmp"
failed=0
bad() { echo "policies.sh: $*" | cut -c 1-600; failed=1; }

# run WANTED-STATUS ARGUMENT...: output in $tmp/out, messages in $tmp/err
run() {
    local want=$1 got
    shift
    timeout 120 "$rb" run ${options[@]+"${options[@]}"} "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    [ "$got" = "$want" ] || bad "run $*: status $got, not $want: $(head -3 "$tmp/err")"
}
out_is() { [ "$(cat "$tmp/out")" = "$1" ] || bad "'$1' expected: $(head -3 "$tmp/out" "$tmp/err")"; }
err_has() { grep -qE -- "$1" "$tmp/err" || bad "no line '$1' in: $(head -3 "$tmp/err")"; }

# --- every promise against every call ---
"$rb" syscalls --promises | sed '/^$/,$d' | awk '$1 != "kill" { print "promise", $1 }' >"$tmp/table"
"$rb" syscalls --json | python3 -c '
import json, sys
for r in json.load(sys.stdin):
    if r["support"] != "none":
        print(r["nr"], r["name"], "by" if r["arguments"] else "-", r["promises"])' >>"$tmp/table"
timeout 120 "$rb" run ${options[@]+"${options[@]}"} -- "$guests/guest_pledgematrix" <"$tmp/table" >"$tmp/out" 2>"$tmp/err" ||
    bad "matrix: $(tail -5 "$tmp/out" "$tmp/err")"
tail -1 "$tmp/out"

# --- --pledge ---
run 0 --pledge 'stdio rpath' -- python3 -c '
import errno, os, socket
print(len(open("/etc/passwd").read()) > 10)
for f in (lambda: open("/tmp/new", "w"), os.fork, socket.socket, lambda: os.kill(1, 9),
          lambda: socket.create_connection(("127.0.0.1", 80)), lambda: os.mkdir("/tmp/new"),
          lambda: os.execv("/bin/true", ["true"])):
    try:
        print(f())
    except OSError as e:
        print(errno.errorcode[e.errno])'
out_is "$(printf 'True\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM\nEPERM')"
run 0 --pledge 'stdio rpath' -- cat /etc/hostname
out_is "$(cat /etc/hostname)"
run 134 --pledge 'stdio rpath kill' -- python3 -c 'import os; print(1, flush=True); os.fork(); print(2)'
out_is 1
run 127 --pledge stdio -- /bin/true # its loader may open nothing
run 0 --pledge 'stdio rpath wpath cpath fattr proc exec' -- sh -c 'cd /tmp && mkdir d && echo x >d/f && chmod 600 d/f && cat d/f && rm -r d'
out_is x
run 2 --pledge 'stdio rpath proc exec' -- sh -c 'echo x >/tmp/f'
run 0 --pledge 'stdio rpath exec proc' --stats=json,"$tmp/stats" -- sh -c 'mkdir /tmp/x || true'
grep -qE "\"pledge_refused\":[1-9]" "$tmp/stats" || bad "--stats does not count what is refused"
run 0 --pledge 'stdio rpath' --trace="$tmp/trace" -- python3 -c '
import os
try: os.mkdir("/tmp/x")
except OSError: pass'
grep -qE 'mkdir\(.*= -1 ?EPERM \(pledge: cpath\)' "$tmp/trace" || bad "--trace does not tell: $(grep mkdir "$tmp/trace")"
# All promises are not what one has without any.
all=$("$rb" syscalls --promises | sed '/^$/,$d' | awk '$1 != "kill" { printf "%s ", $1 }')
run 0 --pledge "$all" -- python3 -c 'import os,socket,subprocess; socket.socket(); subprocess.run(["true"], check=True)'
run 1 --pledge "$all" -- python3 -c 'import socket; socket.sethostname("x")'

# --- real programs ---
dev='stdio rpath wpath cpath fattr flock proc exec'
if type git >/dev/null 2>&1; then
    run 0 --pledge "$dev" --cwd /tmp --env HOME=/tmp -- sh -c '
        git init -q r && cd r && echo a >f && git add f &&
        git -c user.name=a -c user.email=b commit -qm m && git log --format=%s'
    out_is m
fi
if type gcc >/dev/null 2>&1; then
    run 0 --pledge "$dev" --cwd /tmp -- sh -c 'echo "int main(void) { return 0; }" >m.c && gcc -o m m.c && ./m && echo built'
    out_is built
fi
if type curl >/dev/null 2>&1; then
    run 7 --pledge 'stdio rpath proc' -- curl -s http://127.0.0.1:9/
fi

# --- --unveil ---
mkdir "$tmp/tree" "$tmp/tree/in" "$tmp/tree/out"
echo in >"$tmp/tree/in/f"; echo out >"$tmp/tree/out/f"
ln -s ../out/f "$tmp/tree/in/link"
chmod -R a+rX "$tmp"
see=(--bind "$tmp/tree:/tree" --unveil /usr:rx --unveil /bin:rx --unveil /lib:rx --unveil /lib64:rx --unveil /etc:r)
run 0 "${see[@]}" --unveil /tree/in:r --cwd /tree/in -- sh -c '
    cat f; for f in link ../out/f /tree/out/f /tree/in/../out/f ../../home; do cat $f 2>&1 | grep -o "No such file.*"; done
    ls / 2>&1 | grep -o Permission; ls; echo x 2>/dev/null >f || echo refused'
out_is "$(printf 'in\n%s\nPermission\nf\nlink\nrefused' "$(printf 'No such file or directory\n%.0s' 1 2 3 4 5)")"
run 127 "${see[@]}" --unveil /tree/in:r --cwd / -- /tree/out/f
run 126 --unveil /usr:r --unveil /bin:r --unveil /lib:r --unveil /lib64:r -- true
run 127 --unveil /etc:r -- true
run 0 "${see[@]}" --unveil /tmp:rwc --cwd / -- sh -c 'echo x >/tmp/f && cat /tmp/f; cp /bin/true /tmp/t && /tmp/t || echo $?'
out_is "$(printf 'x\n126')"
run 0 "${see[@]}" --unveil /usr/share: --cwd / -- sh -c 'ls /usr/share /usr/lib >/dev/null 2>&1 || echo $?'
out_is 2
run 0 "${see[@]}" --pledge 'stdio rpath' --unveil /dev/null:rw -- python3 -c '
import os
open("/dev/null").close()
try: open("/dev/zero")
except FileNotFoundError: print("hidden")'
out_is hidden

# --- what is wrong with options ---
while IFS='|' read -r option value pattern; do
    run 125 "--$option" "$value" -- true
    [ "$(wc -l <"$tmp/err")" = 1 ] || bad "--$option '$value': not one line: $(head -3 "$tmp/err")"
    err_has "^ringbox.*--$option.*$pattern"
done <<'T'
pledge|stdio rpat|'rpat' is no promise
pledge|stdio,rpath|no promise
pledge|STDIO|no promise
unveil||absolute
unveil|/etc|absolute
unveil|/etc:rq|letters of rwxc
unveil|/etc:rr|letters of rwxc
unveil|etc:r|absolute
unveil|:r|absolute
unveil|/none/deeper:r|No such file
unveil|/etc/passwd/x:r|Not a directory
T
many=()
for i in $(seq 128); do many+=(--unveil "/n$i:r"); done
run 127 "${many[@]}" -- /bin/true
run 125 "${many[@]}" --unveil /more:r -- /bin/true; err_has 'more than 128'

[ $failed = 0 ] && echo "policies.sh: all right"
exit $failed
