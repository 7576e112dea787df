# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# completion.bash - bash completion of ringbox: verbs, options, their values, sandboxes, files. Verbs and options are
# asked of ringbox itself, so that they are those of the one that is installed.

_ringbox_words() { mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2"); }

_ringbox_files() { # COMPGEN-OPTION WORD
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
    compopt -o filenames 2>/dev/null
}

_ringbox_sandboxes() { "$1" ps 2>/dev/null | awk 'NR > 1 { print $1 }'; }

# Values of an option; 1: it takes none that we know.
_ringbox_value() { # RINGBOX OPTION WORD
    case $2 in
    --platform) _ringbox_words "auto trap ptrace" "$3" ;;
    --io) _ringbox_words "auto uring epoll" "$3" ;;
    --net) _ringbox_words none "$3" ;;
    --tty) _ringbox_words "auto yes no" "$3" ;;
    --rootfs | --cwd) _ringbox_files -d "$3" ;;
    --bind | --file) _ringbox_files -f "$3" ;;
    -s | --signal) _ringbox_words "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP TSTP WINCH" "$3" ;;
    --name | --env | --hostname | --user | --memory | --pids | --timeout | --sentry-cores | --guest-cores | --tmpfs | --mount | --pid | --aname) COMPREPLY=() ;;
    --unveil) _ringbox_files -f "$3" ;;
    --pledge) COMPREPLY=() ;;
    *) return 1 ;;
    esac
}

_ringbox() {
    local rb=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local verb=${COMP_WORDS[1]} i operands=0

    COMPREPLY=()
    if [ "$COMP_CWORD" -le 1 ]; then
        _ringbox_words "$("$rb" --help 2>/dev/null | awk '/^  [a-z]/ { print $1 }') --help --version" "$word"
        return
    fi
    # Words that are no options, nor their values, and come before this one.
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --) operands=$((operands + 2)) ;;
        -*) _ringbox_value "$rb" "${COMP_WORDS[i]}" "" && [ "${COMP_WORDS[i + 1]}" != = ] && i=$((i + 1)) ;;
        *) operands=$((operands + 1)) ;;
        esac
    done
    COMPREPLY=()
    if [ "$operands" = 0 ] && _ringbox_value "$rb" "$previous" "$word"; then
        return
    fi
    if [ "$operands" = 0 ] && [[ $word == -* ]]; then
        _ringbox_words "$("$rb" "$verb" --help 2>/dev/null | grep -oE '^ +(-[a-z], )?--[a-z-]+|\[--?[a-z]+' | grep -oE -- '-[-a-z]+' | sort -u) --help" "$word"
        return
    fi
    case $verb:$operands in
    exec:0 | trace:0 | stats:0 | ps:0 | kill:*) _ringbox_words "$(_ringbox_sandboxes "$rb")" "$word" ;;
    run:0 | exec:1) mapfile -t COMPREPLY < <(compgen -c -- "$word") ;;
    serve:0) _ringbox_files -d "$word" ;;
    run:* | exec:* | serve:1) _ringbox_files -f "$word" ;;
    esac
}

complete -F _ringbox ringbox
