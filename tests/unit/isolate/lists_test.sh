#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# lists.awk: what it takes from comments, what it refuses. Argument: the script.
t=$(mktemp -d) || exit 1
trap 'rm -rf "$t"' EXIT
fail() { echo "lists_test: $*"; exit 1; }

cat >"$t/a.c" <<'C'
/* one
 * Host: futex, pread,
 *       fstat [sentry
 * gofer] Host: ioctl [sentry-run] Host: mount [before confinement] Host:
 * read [sentry] */
int f(void) { return printf("Host: execve [sentry]"); }
C
cat >"$t/b.c" <<'C'
/* two. Host: openat2 [gofer] */
    /* Host: renameat2 [gofer] */
C
awk -f "$1" "$t/a.c" "$t/b.c" >"$t/out" || fail "refused a good file"
sentry=$(sed -n '/names_sentry/,/;/p' "$t/out" | tr -d '"\n' | sed 's/.*=//; s/;//; s/  */ /g')
gofer=$(sed -n '/names_gofer/,/;/p' "$t/out" | tr -d '"\n' | sed 's/.*=//; s/;//; s/  */ /g')
[ "$sentry" = " fstat futex ioctl newfstatat pread64 read " ] || fail "sentry: $sentry"
[ "$gofer" = " fstat futex newfstatat openat2 pread64 renameat renameat2 " ] || fail "gofer: $gofer"

printf '/* Host: fu(tex) [sentry] */\n' >"$t/c.c"
awk -f "$1" "$t/c.c" >/dev/null 2>&1 && fail "took fu(tex)"
printf '/* Host: futex */\n' >"$t/c.c"
awk -f "$1" "$t/c.c" >/dev/null 2>&1 && fail "took a declaration without list"
exit 0
