# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# packages.sh - sourced: packages_need GROUP... installs the Debian packages that are missing when it
# may, else prints the command that would and fails.
packages_build="gcc libc6-dev cmake ninja-build pkg-config liburing-dev libseccomp-dev libnuma-dev libzydis-dev"
packages_test="clang-14 clang-format-14 clang-tidy-14 libclang-rt-14-dev llvm-14 libcmocka-dev spin busybox-static python3 perl git make tar gzip sqlite3 procps musl-tools redis-server nginx-light curl diod dpkg-dev file man-db"
# What only the full run uses: heavy servers and interpreters.
packages_full="postgresql-15 memcached haproxy apache2-utils openssl nodejs libpython3.11-testsuite qemu-system-x86"
packages_bench="python3"

packages_need() {
    local group missing="" p
    for group in "$@"; do
        local var=packages_$group
        for p in ${!var}; do
            dpkg-query -W -f='${Status}\n' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
        done
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" = 0 ]; then
        echo "installing:$missing"
        # shellcheck disable=SC2086
        { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } >/tmp/ringbox-apt.$$ 2>&1 && { rm -f /tmp/ringbox-apt.$$; return 0; }
        tail -5 /tmp/ringbox-apt.$$
        rm -f /tmp/ringbox-apt.$$
    fi
    echo "These Debian packages are missing; as root: apt-get install$missing" >&2
    return 1
}
