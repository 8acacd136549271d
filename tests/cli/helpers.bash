# Shared by the tests of the command line. Every wait is bounded.

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    export TMPDIR=$BATS_TEST_TMPDIR XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR # a pool keeps its socket there
    unset MUSTER_POOL MUSTER_SHELL MUSTER_AUTHKEY MUSTER_AUTHKEY_FILE
    started=()
}

teardown() {
    local pid
    for pid in "${started[@]}"; do
        # The shell's word about the end of each is not wanted.
        { kill -KILL "$pid" && wait "$pid"; } 2>/dev/null || true
    done
}

# until_true COMMAND...: waits up to 20 s for it to succeed.
until_true() {
    local i
    for ((i = 0; i < 400; i++)); do
        "$@" && return
        sleep 0.05
    done
    echo "never true: $*" >&2
    return 1
}

# The processes whose command line holds exactly this text.
running() {
    pgrep -f -- "$1" >/dev/null
}

not_running() {
    ! pgrep -f -- "$1" >/dev/null
}

gone() {
    ! kill -0 "$1" 2>/dev/null
}

lines_in() {
    [ "$(wc -l <"$1")" -ge "$2" ]
}

# A number that no other test uses, for `sleep`: it names the processes of this test.
unique_sleep() {
    echo "3$BATS_TEST_NUMBER$$.$RANDOM"
}

# told TEXT: the output of the last `run` holds it. (With the thread sanitizer vfork() is fork(), and why a command could
# not be started may be unknown.)
told() {
    [[ $output == *"$1"* || ${MUSTER_SANITIZE-} == thread ]]
}
