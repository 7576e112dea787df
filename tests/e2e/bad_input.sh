#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# bad_input.sh RINGBOX    what is wrong is said in one clear line or the right errno; nothing is left
set -u
ringbox=$1
tmp=$(mktemp -d) || exit 1
name=rbx$$
trap 'rm -rf "$tmp"' EXIT
ln "$ringbox" "$tmp/$name" 2>/dev/null || cp "$ringbox" "$tmp/$name" || exit 1
chmod 755 "$tmp" "$tmp/$name"
rb=$tmp/$name
failed=0 checks=0

bad() {
    echo "bad_input.sh: $*" | cut -c 1-400 >&2
    failed=$((failed + 1))
}

nothing_left() {
    local i
    for i in $(seq 20); do
        pgrep -r R,S,D,T,t -x "$name" >/dev/null || return 0
        sleep 0.1
    done
    bad "$1: processes left behind"
    pgrep -x "$name" | while read -r p; do kill -9 "$p"; done
}

# expect STATUS PATTERN COMMAND...: exit status, and one line on stderr that matches (- = no line)
expect() {
    local want=$1 pattern=$2 status lines
    shift 2
    checks=$((checks + 1))
    timeout -k 2 30 "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    status=$?
    [ $status = "$want" ] || bad "$*: status $status, not $want: $(head -3 "$tmp/err")"
    lines=$(wc -l <"$tmp/err")
    if [ "$pattern" = - ]; then
        [ "$lines" = 0 ] || bad "$*: says: $(head -3 "$tmp/err")"
    elif [ "$lines" != 1 ] || ! grep -qiE -- "$pattern" "$tmp/err"; then
        bad "$*: not one line with '$pattern': $(head -3 "$tmp/err")"
    fi
    nothing_left "$*"
}

# --- command line ---
expect 125 '^ringbox: .*--nonsense' "$rb" run --nonsense -- /bin/true
expect 125 '^ringbox: ' "$rb" run -x /bin/true
expect 125 '^ringbox: .*(command|usage|help)' "$rb" run
expect 125 '^ringbox: ' "$rb" run --
expect 125 '^ringbox: .*nonsense' "$rb" nonsense
for option in rootfs cwd env hostname user memory pids timeout sentry-cores guest-cores io net platform; do
    expect 125 "^ringbox: .*--$option" "$rb" run --$option
    expect 125 "^ringbox: .*--$option" "$rb" run --$option '' -- /bin/true
done
expect 125 '^ringbox: .*missing-root.*No such file' "$rb" run --rootfs "$tmp/missing-root" -- /bin/true
: >"$tmp/file"
expect 125 '^ringbox: .*Not a directory' "$rb" run --rootfs "$tmp/file" -- /bin/true
mkdir "$tmp/empty-root"
expect 127 'No such file|not found' "$rb" run --rootfs "$tmp/empty-root" -- /bin/true
for v in -1 0 x 1x 99999999999999999999 4194305; do
    expect 125 '^ringbox: .*--pids' "$rb" run --pids "$v" -- /bin/true
done
for v in -1 0 x 1Q 99999999999999999999G 17000000000G; do
    expect 125 '^ringbox: .*--memory' "$rb" run --memory "$v" -- /bin/true
done
for v in -1 x 0x nan 1e400; do
    expect 125 '^ringbox: .*--timeout' "$rb" run --timeout "$v" -- /bin/true
done
for v in 4294967295 -1 x 1:4294967295 1: :1 99999999999; do
    expect 125 '^ringbox: .*--user' "$rb" run --user "$v" -- /bin/true
done
expect 0 - "$rb" run --user 4294967294:4294967294 -- /bin/true
for v in 65 -1 x 4096-; do
    expect 125 '^ringbox: .*--sentry-cores' "$rb" run --sentry-cores "$v" -- /bin/true
done
for v in x 1- 3-1 99999; do
    expect 125 '^ringbox: .*--guest-cores' "$rb" run --guest-cores "$v" -- /bin/true
done
expect 125 '^ringbox: .*--env' "$rb" run --env =x -- /bin/true
expect 125 '^ringbox: .*--hostname' "$rb" run --hostname "$(printf 'h%.0s' {1..65})" -- /bin/true
expect 0 - "$rb" run --hostname "$(printf 'h%.0s' {1..64})" -- /bin/true
expect 125 '^ringbox: .*--net' "$rb" run --net everything -- /bin/true
expect 125 '^ringbox: .*--platform' "$rb" run --platform abacus -- /bin/true
expect 125 '^ringbox: .*--io' "$rb" run --io slow -- /bin/true
expect 125 '^ringbox: .*nowhere' "$rb" run --trace=/nowhere/x -- /bin/true
expect 125 'working directory /nowhere: No such' "$rb" run --cwd /nowhere -- /bin/true

# --- mounts ---
for option in bind tmpfs mount; do
    expect 125 "^ringbox: .*--$option" "$rb" run --$option
    for v in '' : :/x x x: relative x:relative /a:b/.. /a:/ /a:/b/../c /a:/b:/ /a:/b:rw:ro /a:/b:ro,ro /a:/b:ro,rw \
        /a:/b:shared,exclusive /a:/b:nonsense /a:/b,rw "/a:/$(printf 'x/%.0s' {1..2100})"; do
        expect 125 "^ringbox: .*--$option" "$rb" run --$option "$v" -- /bin/true
    done
done
for v in :/b x:/b "$tmp/none:/b" "$tmp/none:/b:rw" /dev/null:/b "$tmp/file/x:/b"; do
    expect 125 '^ringbox: .*--bind' "$rb" run --bind "$v" -- /bin/true
done
for v in /x:size= /x:size=0 /x:size=4095 /x:size=-1 /x:size=1x /x:size=65T /x:mode=755 /x:size=1M:size=2M; do
    expect 125 '^ringbox: .*--tmpfs' "$rb" run --tmpfs "$v" -- /bin/true
done
expect 0 - "$rb" run --tmpfs /x:size=4096 --tmpfs /y:size=64T -- /bin/true
for v in 9p:/b 8p:/a:/b 9p:/nowhere/socket:/b "9p:$tmp/file:/b" 9p:/a:/b:aname "9p:/$(printf 'x%.0s' {1..107}):/b"; do
    expect 125 '^ringbox: .*--mount' "$rb" run --mount "$v" -- /bin/true
done
expect 125 '^ringbox: .*--rw' "$rb" run --rw=often -- /bin/true
expect 125 '^ringbox: .*mounted there already' "$rb" run --tmpfs /x --bind "$tmp:/x" -- /bin/true
expect 125 '^ringbox: .*mounted there already' "$rb" run --tmpfs /x/ --tmpfs //x -- /bin/true
expect 125 '^ringbox: .*would hide' "$rb" run --tmpfs /x/y --bind "$tmp:/x" -- /bin/true
expect 0 - "$rb" run --tmpfs /x --bind "$tmp:/x/y" --tmpfs /xy --bind "$tmp/file:/x/z/file" -- /bin/true
expect 125 'mount /etc: Not a directory' "$rb" run --bind "$tmp/file:/etc" -- /bin/true
expect 125 'mount /etc/passwd: Not a directory' "$rb" run --bind "$tmp:/etc/passwd" -- /bin/true
expect 125 'mount /x/y: No such file' "$rb" run --bind "$tmp:/x:rw" --tmpfs /x/y -- /bin/true
expect 125 'mount /no/where: No such file' "$rb" run --rw --tmpfs /no/where -- /bin/true
[ ! -e "$tmp/y" ] && [ ! -e /no ] || bad "a place was made on the host"
many=()
for i in $(seq 64); do many+=(--tmpfs "/many/$i"); done
expect 0 - "$rb" run "${many[@]}" -- /bin/true
expect 125 'more than 64 mounts' "$rb" run "${many[@]}" --tmpfs /one/more -- /bin/true
many=()
for i in $(seq 64); do many+=(--bind "$tmp:/many/$i"); done
expect 0 - "$rb" run "${many[@]}" -- /bin/true

# --- commands ---
expect 127 'not-there' "$rb" run -- not-there
expect 127 'not-there' "$rb" run -- /bin/not-there
expect 127 '' "$rb" run -- ''
expect 126 'etc' "$rb" run -- /etc
expect 126 'passwd' "$rb" run -- /etc/passwd
expect 127 'No such|not found' "$rb" run -- "/bin/$(printf 'x%.0s' {1..250})"
expect 126 'too long' "$rb" run -- "/$(printf 'x/%.0s' {1..2100})"

# --- programs (made inside, in memory) ---
cat >"$tmp/programs.sh" <<'INNER'
cd /tmp || exit 1
try() { # try STATUS WHAT COMMAND...
    local want=$1 what=$2 got
    shift 2
    "$@" >/dev/null 2>&1 </dev/null
    got=$?
    case " $want " in *" $got "*) ;; *) echo "$what: status $got, not $want" ;; esac
}
: >empty; chmod 755 empty; try "0 126" "empty file" ./empty
mkdir d; try 126 "directory" ./d
echo '#!/bin/true' >noexec; try 126 "not executable" ./noexec
echo "#!$PWD/loop" >loop; chmod 755 loop; try "126 127" "script loop" ./loop
for i in 1 2 3 4 5 6 7; do echo "#!$PWD/s$((i - 1))" >s$i; chmod 755 s$i; done
echo '#!/bin/true' >s0; chmod 755 s0
try 0 "scripts, four deep" ./s3
try "126 127" "scripts, seven deep" ./s7
echo '#!/not/there' >nointerp; chmod 755 nointerp; try "126 127" "missing interpreter" ./nointerp
printf '#!' >bare; chmod 755 bare; try "0 126 127" "bare marker" ./bare
(printf '#!/'; head -c 5000 /dev/zero | tr '\0' x) >longint; chmod 755 longint
try "0 126 127" "endless interpreter" ./longint
size=$(stat -c %s /bin/true)
for n in 1 3 4 15 16 17 31 32 51 52 53 63 64 65 100 119 120 121 500 4095 4096 4097 8192 $((size - 1)); do
    head -c "$n" /bin/true >cut; chmod 755 cut
    ./cut >/dev/null 2>&1
    [ $? -lt 125 ] && [ "$n" -lt 4096 ] && echo "truncated at $n: ran"
done
true
INNER
checks=$((checks + 1))
timeout -k 2 100 "$rb" run --timeout 90 -- bash <"$tmp/programs.sh" >"$tmp/out" 2>"$tmp/err"
[ $? = 0 ] && [ ! -s "$tmp/out" ] || bad "programs: $(cat "$tmp/out" "$tmp/err")"

# 500 seeded mutants of /bin/true: any status, but the sandbox stands and each ends
cat >"$tmp/mutants.py" <<'INNER'
import os, random, signal, subprocess, sys
data = open('/bin/true', 'rb').read()
random.seed(20)
ends = {}
for n in range(500):
    m = bytearray(data)
    where = 64 if n % 3 == 0 else 64 + 56 * 13 if n % 3 == 1 else len(m)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        m[random.randrange(where)] ^= 1 << random.randrange(8)
    with open('/tmp/mutant', 'wb') as f:
        f.write(m)
    os.chmod('/tmp/mutant', 0o755)
    try:
        r = subprocess.run(['/tmp/mutant'], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=3).returncode
    except OSError as e:
        r = 'errno %d' % e.errno
    except subprocess.TimeoutExpired:
        r = 'timeout'
    ends[r] = ends.get(r, 0) + 1
print(sum(ends.values()), 'mutants', ends)
INNER
checks=$((checks + 1))
timeout -k 2 200 "$rb" run --timeout 190 --memory 512M --pids 100 -- python3 - <"$tmp/mutants.py" \
    >"$tmp/out" 2>"$tmp/err"
[ $? = 0 ] && grep -q '^500 mutants' "$tmp/out" || bad "mutants: $(tail -3 "$tmp/out" "$tmp/err")"
nothing_left mutants

# --- the host refuses ---
# refuse NR[:ARG&BITS]=ERRNO... -- COMMAND: a filter that makes calls fail (those with these bits in an argument)
cat >"$tmp/refuse.py" <<'INNER'
import ctypes, os, struct, sys
i = sys.argv.index('--')
insn = []
for rule in sys.argv[1:i]:
    nr, err = rule.split('=')
    nr, _, arg = nr.partition(':')
    insn += [(0x20, 0, 0, 0), (0x15, 0, 4 if arg else 1, int(nr))]
    if arg:
        arg, bits = arg.split('&')
        insn += [(0x20, 0, 0, 16 + 8 * int(arg)), (0x54, 0, 0, int(bits)), (0x15, 0, 1, int(bits))]
    insn += [(0x06, 0, 0, 0x00050000 | int(err))]
insn.append((0x06, 0, 0, 0x7fff0000))
code = b''.join(struct.pack('HBBI', *x) for x in insn)
buf = ctypes.create_string_buffer(code)
prog = struct.pack('HxxxxxxQ', len(insn), ctypes.addressof(buf))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, prog, 0, 0) == 0
os.execvp(sys.argv[i + 1], sys.argv[i + 1:])
INNER
refuse() { echo "python3 $tmp/refuse.py"; }
expect 0 - $(refuse) 425=1 -- "$rb" run -- /bin/true      # io_uring_setup: the other engine
expect 0 - $(refuse) 425=38 -- "$rb" run -- /bin/true
expect 125 '^ringbox: .*io_uring' $(refuse) 425=1 -- "$rb" run --io uring -- /bin/true
expect 125 '^ringbox: .*root' $(refuse) 430=1 -- "$rb" run -- /bin/true # fsopen
expect 125 '^ringbox: .*(isolate|namespace)' $(refuse) 272=1 -- "$rb" run -- /bin/true # unshare
timeout 20 $(refuse) 317=22 -- "$rb" run -- /bin/true >"$tmp/out" 2>"$tmp/err" # seccomp
{ [ $? = 125 ] && grep -q '^ringbox: .*seccomp' "$tmp/err"; } || bad "no seccomp: $(cat "$tmp/err")"
# no listener for notifications (another one is above us): ptrace, unless trap was asked for
expect 0 - $(refuse) '317:1&8=16' -- "$rb" run -- /bin/true
expect 125 '^ringbox: platform trap cannot work' $(refuse) '317:1&8=16' -- "$rb" run --platform trap -- /bin/true
expect 0 - $(refuse) 101=1 -- "$rb" run -- /bin/true # ptrace
expect 125 '^ringbox: platform ptrace cannot work here: tracing' $(refuse) 101=1 -- "$rb" run --platform ptrace -- /bin/true
expect 125 '^ringbox: no platform' $(refuse) '317:1&8=16' 101=1 -- "$rb" run -- /bin/true
$(refuse) '317:1&8=16' -- "$rb" doctor >"$tmp/out"
{ [ $? = 0 ] && grep -q '^platform trap .*missing.*busy' "$tmp/out" && grep -q '^platform ptrace .*ok' "$tmp/out"; } ||
    bad "doctor without a listener: $(grep platform "$tmp/out")"
expect 125 '^ringbox: ' prlimit --nofile=8:8 "$rb" run -- /bin/true
# no processes; in a pid namespace of its own, where a stray kill() finds nobody
expect 125 "^ringbox: " unshare --user --map-root-user --pid --fork $(refuse) 56=11 57=11 58=11 435=11 -- "$rb" run -- /bin/true
for limit in 24 40 64; do # works, or says why not
    checks=$((checks + 1))
    timeout -k 2 20 prlimit --nofile=$limit:$limit "$rb" run -- /bin/true >"$tmp/out" 2>"$tmp/err"
    status=$?
    [ $status = 0 ] || { [ $status -ge 125 ] && [ $status -lt 128 ] && [ "$(wc -l <"$tmp/err")" = 1 ]; } ||
        bad "nofile $limit: status $status: $(head -3 "$tmp/err")"
    nothing_left "nofile $limit"
done

# --- the file server dies while it is used ---
checks=$((checks + 1))
timeout -k 2 30 "$rb" run --timeout 25 -- sh -c 'echo go; find /usr >/dev/null 2>&1; echo after' \
    >"$tmp/out" 2>"$tmp/err" </dev/null &
runner=$!
for i in $(seq 100); do grep -q go "$tmp/out" && break; sleep 0.02; done
cli=$(pgrep -x "$name" -P $runner)
for p in $(pgrep -x "$name" -P "$cli"); do
    grep -qE '^NSpid:.*[[:space:]]1$' "/proc/$p/status" || kill -9 "$p"
done
wait $runner
status=$?
{ [ $status != 124 ] && [ $status != 137 ] && grep -q after "$tmp/out"; } || bad "dead server: status $status"
nothing_left 'dead server'

# --- memory full, output refused, time out ---
checks=$((checks + 4))
timeout -k 2 60 "$rb" run --memory 64M --timeout 50 -- sh -c \
    'head -c 200M /dev/zero >/tmp/big; s=$?; rm -f /tmp/big; [ $s != 0 ] && echo survived' >"$tmp/out" 2>"$tmp/err"
grep -qx survived "$tmp/out" || bad "memory full: $? $(cat "$tmp/err")"
timeout 20 "$rb" run -- echo hello >&- 2>"$tmp/err"
[ $? = 1 ] || bad "stdout closed: $(cat "$tmp/err")"
timeout 20 "$rb" run -- echo hello >/dev/full 2>"$tmp/err"
[ $? = 1 ] && grep -q 'No space' "$tmp/err" || bad "/dev/full: $(cat "$tmp/err")"
start=$SECONDS
timeout 20 "$rb" run --timeout 1 -- sh -c 'while :; do :; done' >"$tmp/out" 2>"$tmp/err"
[ $? = 137 ] && [ $((SECONDS - start)) -lt 5 ] || bad "--timeout: $(cat "$tmp/err")"
timeout 20 "$rb" run -- sh -c 'yes | head -1' >"$tmp/out" 2>"$tmp/err" || bad "broken pipe"
nothing_left 'last ones'

echo "bad_input.sh: $checks checks, $failed failed"
[ $failed = 0 ]
