# Completion of `muster` for bash. Options come from --help, so they are always those of the installed program.

# The options of "$@", one on each line, from its --help.
_muster_options() {
    "$@" --help 2>/dev/null | sed -n 's/^  \(-[^ ], \|    \)\?\(--[a-z-]*\).*/\2/p; s/^  \(-[^ ,]\)\( .*\)\?$/\1/p'
}

_muster() {
    local program=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command=${COMP_WORDS[1]-} i
    COMPREPLY=()

    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W 'map call status help --help --version' -- "$word")
        return
    fi
    case $previous in
    -a | --arg-file | --joblog | --load)
        [[ $previous == --load && $command == map ]] || compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    --workdir | --results)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -d -- "$word")
        return
        ;;
    --halt)
        mapfile -t COMPREPLY < <(compgen -W 'never soon,fail=1 now,fail=1 soon,success=1 now,success=1' -- "$word")
        return
        ;;
    --env)
        mapfile -t COMPREPLY < <(compgen -v -- "$word")
        return
        ;;
    --pool)
        mapfile -t COMPREPLY < <(compgen -W "${MUSTER_POOL-} tcp:// ipc:// tls+tcp:// ws:// wss://" -- "$word")
        return
        ;;
    esac
    case $command in
    help)
        ((COMP_CWORD > 2)) || mapfile -t COMPREPLY < <(compgen -W 'map call status' -- "$word")
        return
        ;;
    map | call | status) ;;
    *) return ;;
    esac

    # After the command of `map` there are its own words and items: files.
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        ::: | :::: | --) command=items ;;
        esac
    done
    if [[ $word == -* && $command != items ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_muster_options "$program" "$command")" -- "$word")
        return
    fi
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen -f -- "$word")
    if [[ $command == map ]]; then
        local names
        mapfile -t names < <(compgen -c -- "$word")
        COMPREPLY+=("${names[@]}")
    fi
}

complete -F _muster muster
