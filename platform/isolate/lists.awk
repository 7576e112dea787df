# SPDX-License-Identifier: Apache-2.0
# lists.awk - the seccomp lists, from the declarations beside the code that makes the calls:
#
#     Host: futex, io_uring_enter [sentry]
#     Host: openat2, statx [gofer]          (may go on over lines; clang-format breaks them)
#
# In the bracket: sentry (or sentry-run), gofer, both, sentry-ptrace (the Sentry, where it traces), or anything else for "not after confinement".
# Names are those of the calls as written in C; alias[] knows what the C library makes of them.
# Output: a header with one array and one string per list, sorted.

BEGIN {
    alias["pread"] = "pread64"; alias["pwrite"] = "pwrite64"
    alias["fstat"] = "fstat newfstatat"; alias["fstatat"] = "newfstatat"
    alias["epoll_wait"] = "epoll_wait epoll_pwait"; alias["epoll_create1"] = "epoll_create1"
    alias["poll"] = "poll ppoll"; alias["nanosleep"] = "nanosleep clock_nanosleep"
    alias["eventfd"] = "eventfd2"; alias["recv"] = "recvfrom"; alias["send"] = "sendto"
    alias["getrlimit"] = "prlimit64"; alias["setrlimit"] = "prlimit64"; alias["prlimit"] = "prlimit64"
    alias["sigprocmask"] = "rt_sigprocmask"; alias["sigaction"] = "rt_sigaction"
    alias["accept"] = "accept4"; alias["getdents"] = "getdents64"; alias["exit"] = "exit exit_group"
    alias["posix_fadvise"] = "fadvise64"; alias["readlink"] = "readlink readlinkat"
    alias["signalfd"] = "signalfd4"; alias["pipe"] = "pipe2"; alias["dup2"] = "dup2 dup3"
    alias["waitpid"] = "wait4"; alias["raise"] = "tgkill"; alias["inotify_init"] = "inotify_init1"
    alias["faccessat"] = "faccessat faccessat2"; alias["open"] = "openat"
    alias["fchmodat"] = "fchmodat"; alias["lstat"] = "newfstatat"; alias["stat"] = "newfstatat"
    alias["renameat2"] = "renameat renameat2" # the C library, without flags
}

FNR == 1 { open = 0; comment = 0 }

# Comment text only; a declaration runs from "Host:" to "]", wherever lines are broken.
{
    line = $0
    if (line ~ /^ *\/\*/)
        comment = 1
    if (!comment)
        next
    ends = index(line, "*/")
    sub(/^ *(\/\*|\*) ?/, "", line)
    sub(/\*\/.*/, "", line)
    while (line != "") {
        if (!open) {
            at = index(line, "Host:")
            if (!at)
                break
            open = 1
            text = ""
            from = FILENAME ":" FNR
            line = substr(line, at + 5)
        }
        at = index(line, "]")
        if (!at) {
            text = text " " line
            break
        }
        declare(text " " substr(line, 1, at))
        open = 0
        line = substr(line, at + 1)
    }
    if (ends) {
        if (open) {
            printf "%s: Host: without [list]\n", from > "/dev/stderr"
            failed = 1
        }
        comment = open = 0
    }
}

function declare(t,    names, lists, n, i, calls, sentry, gofer, ptrace) {
    lists = t
    sub(/^[^[]*\[/, "", lists)
    sub(/\].*/, "", lists)
    names = t
    sub(/\[.*/, "", names)
    gsub(/,/, " ", lists)
    lists = " " lists " "
    sentry = lists ~ / sentry(-run)? /
    gofer = lists ~ / gofer /
    ptrace = lists ~ / sentry-ptrace /
    gsub(/,/, " ", names)
    n = split(names, calls, " ")
    for (i = 1; i <= n; i++) {
        if (calls[i] !~ /^[a-z_0-9]+$/) {
            printf "%s: Host: \"%s\" is no call\n", from, calls[i] > "/dev/stderr"
            failed = 1
            continue
        }
        add(calls[i], sentry, gofer, ptrace)
    }
}

function add(call, sentry, gofer, ptrace,    n, i, real) {
    n = split(call in alias ? alias[call] : call, real, " ")
    for (i = 1; i <= n; i++) {
        if (sentry)
            in_sentry[real[i]] = 1
        if (gofer)
            in_gofer[real[i]] = 1
        if (ptrace)
            in_ptrace[real[i]] = 1
    }
}

function emit(name, set,    n, i, j, v, sorted, call) {
    n = 0
    for (call in set)
        sorted[++n] = call
    for (i = 2; i <= n; i++) {
        v = sorted[i]
        for (j = i - 1; j > 0 && sorted[j] > v; j--)
            sorted[j + 1] = sorted[j]
        sorted[j + 1] = v
    }
    printf "static const int list_%s[] = {\n", name
    for (i = 1; i <= n; i++)
        printf "    SCMP_SYS(%s),\n", sorted[i]
    printf "};\nstatic const char names_%s[] =\n", name
    for (i = 1; i <= n; i++)
        printf "    \"%s%s\"\n", sorted[i], i < n ? " " : ""
    printf "    \"\";\n"
}

END {
    if (failed)
        exit 1
    print "/* SPDX-License-Identifier: Apache-2.0"
    print " * Made by lists.awk from the Host: declarations. Do not edit. */"
    emit("sentry", in_sentry)
    emit("gofer", in_gofer)
    emit("ptrace", in_ptrace)
}
