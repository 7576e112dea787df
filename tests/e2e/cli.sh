#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cli.sh RINGBOX SOURCE   the verbs: exit status and sanity of what they print; what README says about them.
set -u
rb=$1 top=$2
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0
bad() { echo "cli.sh: $*"; failed=1; }

# run WANTED-STATUS ARGUMENT...: output in $tmp/out, messages in $tmp/err
run() {
    local want=$1 got
    shift
    timeout 60 "$rb" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    [ "$got" = "$want" ] || { bad "ringbox $*: status $got, not $want"; head -3 "$tmp/err"; }
}
out_has() { grep -qE -- "$1" "$tmp/out" || bad "no line '$1' in: $(head -3 "$tmp/out")"; }
err_is_one_line() {
    { [ "$(wc -l <"$tmp/err")" = 1 ] && grep -q '^ringbox: ' "$tmp/err"; } || bad "not one line: $(cat "$tmp/err")"
}

# The program itself.
run 0 --help; out_has '^usage: ringbox VERB'
for verb in run ps kill stats syscalls doctor; do
    out_has "^  $verb "
done
run 0 --version; out_has '^ringbox [0-9]+\.[0-9]+'
run 125
run 125 frobnicate; err_is_one_line

# syscalls: a line for each call, sorted by number, counted at the end.
run 0 syscalls
grep -E '^ *[0-9]+ ' "$tmp/out" >"$tmp/rows"
[ "$(awk '{ print $1 }' "$tmp/rows")" = "$(awk '{ print $1 }' "$tmp/rows" | sort -nu)" ] || bad "syscalls: numbers twice or out of order"
awk '$3 == "partial" && NF < 4' "$tmp/rows" | grep . && bad "syscalls: partial without a note"
for kind in full partial none; do
    declare "n_$kind=$(awk -v k=$kind '$3 == k' "$tmp/rows" | wc -l)"
done
# shellcheck disable=SC2154
[ "$(tail -1 "$tmp/out")" = "full $n_full, partial $n_partial, none $n_none" ] ||
    bad "syscalls: the last line says $(tail -1 "$tmp/out"), the rows full $n_full, partial $n_partial, none $n_none"
[ "$((n_full + n_partial))" -ge 280 ] || bad "syscalls: only $((n_full + n_partial)) are there"
rows=$(wc -l <"$tmp/rows")
run 0 syscalls --json
python3 - "$tmp/out" "$rows" <<'P' || bad "syscalls --json"
import json, sys
rows = json.load(open(sys.argv[1]))
assert len(rows) == int(sys.argv[2])
assert all(r["support"] in ("full", "partial", "none") and r["name"] for r in rows)
P
run 0 syscalls --promises
out_has '^stdio +'; out_has '^mkdir +cpath$'; out_has '^openat +rpath wpath cpath +'; out_has '^process_vm_readv +never$'
run 0 syscalls --help
run 125 syscalls --nonsense; err_is_one_line

# doctor
run 0 doctor
for what in kernel 'platform trap' 'user namespaces' io_uring CPUs; do out_has "^$what +(ok|missing)"; done
run 0 doctor --filters
out_has '^list sentry: '; out_has '^list gofer: '
sed -n 's/^list sentry: //p' "$tmp/out" | tr ' ' '\n' |
    grep -xE 'open|openat|openat2|socket|connect|bind|execve|execveat|ptrace|io_uring_setup|fchmod|fchown|fsetxattr|utimensat' &&
    bad "the Sentry's list has a call that it must not have"
run 125 doctor --nonsense; err_is_one_line

# run
run 0 run --help
for option in name rootfs memory pids timeout trace stats sentry-cores user pledge unveil; do out_has "^  --$option"; done
[ "$(awk 'length > 100' "$tmp/out" | wc -l)" = 0 ] || bad "run --help has lines over 100 columns"
run 125 run; err_is_one_line
run 125 run --nonsense -- true; err_is_one_line
run 125 run --net host -- true; err_is_one_line
run 127 run -- /nonexistent
run 126 run -- /etc/passwd
run 7 run -- sh -c 'exit 7'
run 143 run -- sh -c 'kill -TERM $$'
run 137 run --timeout 1 -- sleep 30
run 0 run --trace -- true
grep -qE '^\[[0-9]+\] execve\(|^\[[0-9]+\] [a-z_0-9]+\(.*\) = ' "$tmp/err" || bad "--trace shows no call"
run 0 run --stats=json,"$tmp/stats" -- true
python3 -c 'import json, sys; json.load(open(sys.argv[1]))' "$tmp/stats" || bad "--stats=json is no JSON"

# README: options it names exist, or are named as missing; counts are not above the truth.
run 0 run --help
missing=$(sed -n '/^Missing:/,/^###/p' "$top/README.md")
for option in $(grep -oE '`--[a-z-]+|ringbox run --[a-z-]+|ringbox run.* --[a-z]+' "$top/README.md" | grep -oE '\--[a-z-]+' | sort -u); do
    [ "$option" = --help ] || [ "$option" = --filters ] || [ "$option" = --net ] || grep -q "^  $option" "$tmp/out" ||
        grep -q -- "$option" <<<"$missing" || bad "README names $option, which run has not"
done
claim=$(grep -oE 'At least [0-9]+ system calls' "$top/README.md" | grep -oE '[0-9]+')
[ -n "$claim" ] && [ "$claim" -le "$((n_full + n_partial))" ] || bad "README claims '$claim' calls, there are $((n_full + n_partial))"
# ... and the programs it says are tested, are.
for program in bash busybox python3 perl gcc make git tar sqlite3; do
    grep -q "$program" "$top/README.md" || continue
    grep -lqwE "$program" "$top"/tests/e2e/cases/*.sh || bad "README says $program is tested; no case uses it"
done
exit "$failed"
