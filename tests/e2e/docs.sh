#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# docs.sh RINGBOX BUILD    what is said about ringbox and what it does: man pages and --help name the same
# options, every function of libringbox has a page, completion, what cmake --install and a package hold.
set -u
rb=$(realpath "$1") build=$(realpath "$2") top=$(realpath "$(dirname "$0")/../..")
man1=$top/sentry/cmd/man
tmp=$(mktemp -d) || exit 1
running=
finish() {
    [ -n "$running" ] && "$rb" kill docs-box 2>/dev/null
    rm -rf "$tmp"
}
trap finish EXIT
export XDG_RUNTIME_DIR=$tmp
failed=0
bad() { echo "docs.sh: $*"; failed=1; }

# --- options: help and man ---
help_options() { "$rb" $1 --help | grep -oE '^ +(-[a-z], )?--[a-z-]+|\[--?[a-z-]+' | grep -oE -- '--?[a-z][a-z-]*' | sort -u; }
man_options() { sed -n 's/^\.It \(Fl .*\)/\1/p' "$1" | grep -oE '(Fl |, )-?[a-z][a-z-]*' | sed 's/^Fl /-/; s/^, /-/' | grep -v -- '^--help$' | sort -u; }
same() { # VERB PAGE
    diff <(help_options "$1") <(man_options "$2") >"$tmp/diff" || { bad "$1 --help (<) and ${2##*/} (>) differ:"; grep '^[<>]' "$tmp/diff"; }
}
same run "$man1/ringbox-run.1"
same exec "$man1/ringbox-exec.1"
verbs=$("$rb" --help | awk '/^  [a-z]/ { print $1 }')
[ "$(wc -w <<<"$verbs")" -ge 8 ] || bad "ringbox --help names few verbs"
diff <(for v in $verbs; do case $v in run | exec) ;; *) help_options "$v" ;; esac; done | sort -u) \
    <(man_options "$man1/ringbox.1" | grep -v -- '^--version$') >"$tmp/diff" ||
    { bad "--help of the other verbs (<) and ringbox.1 (>) differ:"; cat "$tmp/diff"; }
diff <(sort <<<"$verbs") <(sed -n 's/^\.It Cm //p' "$man1/ringbox.1" | sort) >/dev/null || bad "ringbox.1 does not describe the verbs"
for v in $verbs; do
    "$rb" "$v" --help >"$tmp/help" 2>&1 && grep -q '^usage: ringbox '"$v" "$tmp/help" || bad "$v has no --help"
done
[ "$(help_options run | wc -l)" -gt 15 ] || bad "help_options finds little"

# --- libringbox ---
functions=$(grep -oE '\bringbox_[a-z_]+\(' "$top/guestlib/include/ringbox.h" | tr -d '(' | sort -u | grep -vE '^ringbox_(open|get|wait|advance|submit|set_data|prep_pread)$')
functions="$functions $(grep -E '^[a-z].* \**ringbox_[a-z_]+\(' "$top/guestlib/include/ringbox.h" | grep -oE 'ringbox_[a-z_]+\(' | tr -d '(')"
pages=("$top"/guestlib/man/*.3)
for f in $(tr ' ' '\n' <<<"$functions" | sort -u); do
    grep -qE "^\.Nm $f( ,)?$" "${pages[@]}" || bad "no page for $f"
    grep -q "^\.Fn $f\b" "${pages[@]}" || bad "no prototype of $f"
done
for f in $(sed -n 's/^\.Fn \(ringbox_[a-z_]*\).*/\1/p' "${pages[@]}" | sort -u); do
    grep -q "\b$f(" "$top/guestlib/include/ringbox.h" || bad "$f is not in the header"
done
if command -v man groff >/dev/null; then
    for p in "$man1"/*.1 "$top"/ring/man/*.7 "${pages[@]}"; do
        man --warnings -l "$p" 2>&1 >/dev/null | grep . && bad "${p##*/}: man warns"
    done
fi

# --- completion ---
complete_at() { # WORD...: the last one is being typed; sorted replies
    bash -c 'dir=$1 comp=$2; shift 2; PATH=$dir:$PATH; . "$comp"; COMP_WORDS=(ringbox "$@"); COMP_CWORD=$#
        compopt() { :; }; _ringbox; printf "%s\n" "${COMPREPLY[@]}"' - "${rb%/*}" "$top/sentry/cmd/completion.bash" "$@" | sort -u | tr '\n' ' '
}
completes() { # WANTED WORD...
    local want=$1 got
    shift
    got=$(complete_at "$@")
    [ "$got" = "$want" ] || bad "ringbox $* completes to '$got', not '$want'"
}
bash -c '. "$1"; complete -p ringbox' - "$top/sentry/cmd/completion.bash" >/dev/null || bad "completion is not installed"
completes "$(tr ' ' '\n' <<<"$verbs --help --version" | sort | tr '\n' ' ')" ''
completes 'exec ' ex
completes '--platform ' run --pla
completes 'auto ptrace trap ' run --platform ''
completes 'trap ' run --platform tr
completes '--cwd ' exec --c
completes '--pid ' kill --p
completes '--filters ' doctor --f
completes 'KILL ' kill -s K
(cd "$tmp" && mkdir -p adir && touch afile && complete_at run --rootfs a | grep -qx 'adir ') || bad "no directories after --rootfs"
complete_at run --memory 1G tru | grep -q '\btrue ' || bad "no commands after options"
complete_at run -- cat /etc/pass | grep -q '/etc/passwd ' || bad "no files behind the command"
"$rb" run --name docs-box -- sleep 60 &
running=1
for _ in $(seq 200); do "$rb" stats docs-box >/dev/null 2>&1 && break; sleep 0.05; done
for v in exec trace stats ps kill; do completes 'docs-box ' "$v" "do"; done
completes ' ' run docs-bo
complete_at exec docs-box tru | grep -q '\btrue ' || bad "no commands behind exec ID"
"$rb" kill docs-box
wait
running=

# --- install, package ---
cmake --install "$build" --prefix "$tmp/inst" >"$tmp/log" 2>&1 || { bad "cmake --install"; tail -3 "$tmp/log"; }
check_tree() { # ROOT
    local f
    for f in bin/ringbox include/ringbox.h share/man/man1/ringbox.1 share/man/man1/ringbox-run.1 share/man/man1/ringbox-exec.1 \
        share/man/man7/ring.7 share/man/man3/ringbox_open.3 share/man/man3/ringbox_prep_read.3 share/bash-completion/completions/ringbox \
        share/doc/ringbox/copyright; do
        [ -s "$1/$f" ] || bad "$f is missing in ${1##*/}"
    done
    for f in libringbox.a pkgconfig/ringbox.pc; do
        [ -n "$(find "$1" -path "*/$f")" ] || bad "$f is missing in ${1##*/}"
    done
    [ "$("$1/bin/ringbox" run -- sh -c 'echo works')" = works ] || bad "ringbox in ${1##*/} does not run"
}
check_tree "$tmp/inst"
for f in $functions; do [ -s "$tmp/inst/share/man/man3/$f.3" ] || bad "$f.3 is not installed"; done
pc=$(dirname "$(find "$tmp/inst" -name ringbox.pc)")
# shellcheck disable=SC2046 # flags
gcc -o "$tmp/nullcall" "$top/guestlib/examples/batchread.c" -D_GNU_SOURCE \
    $(PKG_CONFIG_PATH=$pc pkg-config --define-variable=prefix="$tmp/inst" --define-variable=libdir="$(dirname "$pc")" --define-variable=includedir="$tmp/inst/include" --cflags --libs ringbox) 2>"$tmp/log" ||
    { bad "a program with pkg-config's flags"; head -3 "$tmp/log"; }
if command -v cpack dpkg-deb dpkg-shlibdeps >/dev/null; then
    (cd "$build" && cpack -G DEB -B "$tmp/deb" >"$tmp/log" 2>&1) || { bad "cpack"; tail -5 "$tmp/log"; }
    deb=$(echo "$tmp"/deb/*.deb)
    dpkg-deb --contents "$deb" >"$tmp/contents" || bad "dpkg-deb --contents"
    grep -q ' ./usr/bin/ringbox$' "$tmp/contents" || bad "the package has no /usr/bin/ringbox"
    grep -vE ' \./(usr/.*)?$' "$tmp/contents" && bad "the package has files outside /usr"
    dpkg-deb --field "$deb" Depends | grep -q libc6 || bad "the package depends on nothing"
    dpkg-deb -x "$deb" "$tmp/unpacked" && check_tree "$tmp/unpacked/usr"
    cmp "$tmp/unpacked/usr/share/man/man1/ringbox.1" "$man1/ringbox.1" || bad "another man page"
fi
exit "$failed"
