#!/usr/bin/env bats
# What `muster map` does when jobs fail, are ended, or the world is full.
# shellcheck disable=SC2016

load helpers

@test "the exit status is the number of failed jobs, 101 for more than 100" {
    run muster map 'exit {}' ::: 0 1 2 0
    [ "$status" = 2 ]
    run bash -c 'seq 100 | muster map false'
    [ "$status" = 100 ]
    run bash -c 'seq 150 | muster map false'
    [ "$status" = 101 ]
}

@test "a command that is not there or cannot be run is a failed job" {
    touch plain
    run muster map --joblog log ./missing ::: a b
    [ "$status" = 2 ]
    told 'cannot run ./missing: No such file'
    [ "$(cut -f7 log | sort -u | head -n1)" = 127 ]
    run muster map --joblog log ./plain ::: a
    [ "$status" = 1 ]
    [ "$(sed -n 2p log | cut -f7)" = 126 ] || [ "${MUSTER_SANITIZE-}" = thread ]
}

@test "a job that a signal ends has failed" {
    run muster map --joblog log 'kill -KILL $$' ::: a
    [ "$status" = 1 ]
    [ "$(sed -n 2p log | cut -f7,8)" = $'0\t9' ]
}

@test "--timeout ends a job and its children" {
    local time
    time=$(unique_sleep)
    run muster map --joblog log --timeout 0.3 "sleep $time & sleep $time; echo {}" ::: a
    [ "$status" = 1 ]
    [[ $output == *"time limit"* || $output == *"imed out"* ]]
    [ "$(sed -n 2p log | cut -f7)" = -1 ]
    until_true not_running "sleep $time"
}

@test "--timeout starts when the job does" {
    run muster map -j1 --timeout 2 'sleep 0.4; :' ::: 1 2 3 4 5 6 7
    [ "$status" = 0 ]
}

@test "--retries runs a failing job again" {
    run muster map --retries 3 'echo x >>runs; exit 1' ::: a
    [ "$status" = 1 ]
    [ "$(wc -l <runs)" = 3 ]
    run muster map -k --retries 5 'echo x >>tries{}; [ $(wc -l <tries{}) -ge {} ] && echo {}' ::: 1 2 3
    [ "$status" = 0 ]
    [ "$output" = $'1\n2\n3' ]
}

@test "--halt soon starts nothing after the failure" {
    run muster map -j1 --halt soon,fail=1 'echo {}; exit {}' ::: 0 5 6 7
    [ "$status" = 5 ]
    [ "$output" = $'0\n5' ]
    run muster map -j1 --halt soon,fail=2 'echo {}; exit {}' ::: 0 5 6 7
    [ "$status" = 2 ]
}

@test "--halt now ends what runs" {
    local time
    time=$(unique_sleep)
    run muster map -j2 --halt now,fail=1 "if [ {} = 1 ]; then exit 3; fi; sleep $time" ::: 0 1 2 3
    [ "$status" = 3 ]
    until_true not_running "sleep $time"
}

@test "--halt with success, done and percent" {
    run muster map -j1 --halt soon,success=1 'echo {}; exit {}' ::: 3 0 6
    [ "$status" = 0 ]
    [ "$output" = $'3\n0' ]
    run muster map -j1 --halt soon,done=2 'echo {}; exit {}' ::: 3 0 6
    [ "$status" = 1 ]
    run bash -c 'seq 10 | muster map -j1 --halt soon,fail=30% "echo {}; false"'
    [ "$status" = 30 ]
    [ "$(wc -l <<<"$output")" = 3 ]
}

@test "--joblog has GNU parallel's columns, --resume goes on with it" {
    run muster map -j1 --joblog log 'echo {}; [ {} != b ]' ::: a b
    [ "$status" = 1 ]
    [ "$(head -n1 log)" = $'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand' ]
    [ "$(sed -n 3p log | cut -f1,2,5-)" = $'2\t:\t0\t2\t1\t0\techo b; [ b != b ]' ]
    run muster map -k --joblog log --resume 'echo {}' ::: a b c
    [ "$status" = 0 ]
    [ "$output" = c ]
    run muster map -k --joblog log --resume-failed 'echo {}' ::: a b c d
    [ "$output" = $'b\nd' ]
    run muster map -k --joblog log --resume-failed 'echo {}' ::: a b c d
    [ "$output" = '' ]
    [ "$(head -n1 log | cut -f1)" = Seq ]
    [ "$(wc -l <log)" = 6 ]
}

@test "GNU parallel and muster map resume from each other's log" {
    command -v parallel >/dev/null || skip "GNU parallel is not installed"
    muster map --joblog log echo ::: a b >/dev/null
    run parallel --will-cite -k --joblog log --resume echo ::: a b c
    [ "$output" = c ]
    run muster map -k --joblog log --resume echo ::: a b c d
    [ "$output" = d ]
}

@test "an item with newlines and tabs is one line of the log" {
    muster map --joblog log true ::: $'a\nb\tc'
    [ "$(wc -l <log)" = 2 ]
    run muster map --joblog log --resume echo ::: $'a\nb\tc'
    [ "$status" = 0 ]
    [ "$output" = '' ]
}

@test "--resume refuses a file that is no job log, and leaves it alone" {
    echo precious >log
    run muster map --joblog log --resume echo ::: a
    [ "$status" = 255 ]
    [ "$(cat log)" = precious ]
}

@test "a job log on a full disk is an error, and no output is lost" {
    run muster map --joblog /dev/full echo ::: a b
    [ "$status" = 255 ]
    [[ $output == *"/dev/full"*"No space left"* ]]
    [ -e /dev/full ]
}

@test "a job log that fills the disk later: what ran is printed, nothing more is started" {
    # A log of nearly 16 MiB, with room for some ten lines more; a limit on files stands for the end of the disk.
    printf 'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n' >log
    printf '5000\t:\t1.0\t1.0\t0\t0\t0\t0\t' >>log
    head -c $((16 * 1024 * 1024 - 700)) /dev/zero | tr '\0' x >>log
    echo >>log
    run bash -c 'ulimit -f 16384; trap "" XFSZ; seq 1000 | muster map -j1 -k --joblog log --resume echo 2>err'
    [ "$status" = 255 ]
    grep -q "cannot write to the job log log: File too large" err
    printed=$(wc -l <<<"$output")
    logged=$(($(grep -c '^[0-9]' log) - 2))
    [ "$printed" -ge 5 ] && [ "$printed" -lt 100 ]
    [ "$printed" -ge "$logged" ]
    [ "$output" = "$(seq "$printed")" ]
}

@test "a full disk for standard output is an error" {
    run bash -c 'muster map echo ::: a b c >/dev/full'
    [ "$status" = 255 ]
    [[ $output == *"No space left"* ]]
}

@test "a closed standard output is an error that is told" {
    run bash -c 'muster map echo ::: a b c >&-'
    [ "$status" = 255 ]
    [[ $output == *"standard output: Bad file descriptor"* ]]
    run bash -c 'muster map -k true ::: a b c >&- <&-'
    [ "$status" = 0 ]
}

@test "a reader that goes away ends it quietly, as other filters" {
    local time
    time=$(unique_sleep)
    run bash -c 'yes | muster map -j2 echo 2>err | head -n1; echo "${PIPESTATUS[1]}"'
    [ "$output" = $'y\n141' ]
    [ ! -s err ]
    run bash -c "printf '%s\n' 0 $time $time | muster map -j3 'echo {}; sleep {}' | head -n0; :"
    until_true not_running "sleep $time"
}

@test "an interrupt starts nothing more, ends what runs, and ends with 130" {
    local time pid result
    time=$(unique_sleep)
    # A background process of a script ignores SIGINT unless job control is on.
    set -m
    muster map -j2 --joblog log sleep ::: "$time" "$time" "$time" 3>&- &
    pid=$!
    set +m
    started+=("$pid")
    until_true running "^sleep $time"
    kill -INT "$pid"
    result=0
    wait "$pid" || result=$?
    [ "$result" = 130 ]
    not_running "^sleep $time"
    # What was interrupted has not been done.
    [ "$(wc -l <log)" = 1 ]
}

@test "an interrupt from the terminal, which also reaches the workers, ends with 130" {
    local time pid result
    time=$(unique_sleep)
    set -m
    muster map -j2 sleep ::: "$time" "$time" 3>&- 2>err &
    pid=$!
    set +m
    started+=("$pid")
    until_true running "^sleep $time"
    kill -INT -- "-$pid"
    result=0
    wait "$pid" || result=$?
    [ "$result" = 130 ]
    [ ! -s err ] || { cat err; false; }
    not_running "^sleep $time"
}

@test "a job that ignores SIGTERM is killed; a second interrupt ends at once" {
    local time pid result
    time=$(unique_sleep)
    set -m
    muster map "trap '' TERM; while :; do sleep $time; done; :" ::: 1 3>&- &
    pid=$!
    set +m
    started+=("$pid")
    until_true running "^sleep $time"
    kill -INT "$pid"
    kill -INT "$pid" 2>/dev/null || true
    result=0
    wait "$pid" || result=$?
    [ "$result" = 130 ]
    until_true not_running "$time"
}

@test "SIGTERM ends with 143" {
    local time pid result
    time=$(unique_sleep)
    muster map sleep ::: "$time" 3>&- &
    pid=$!
    started+=("$pid")
    until_true running "^sleep $time"
    kill "$pid"
    result=0
    wait "$pid" || result=$?
    [ "$result" = 143 ]
    not_running "^sleep $time"
}

@test "kill -9 of muster map leaves no process, file or memory behind" {
    local time pid
    time=$(unique_sleep)
    muster map -j2 "sleep $time & sleep $time; :" ::: 1 2 3>&- 2>err &
    pid=$!
    started+=("$pid")
    until_true running "^sleep $time"
    mapfile -t workers < <(pgrep -P "$pid")
    [ "${#workers[@]}" -ge 2 ]
    [ -n "$(find "$TMPDIR" -type s)" ]
    kill -KILL "$pid"
    wait "$pid" || true
    for worker in "${workers[@]}"; do
        until_true gone "$worker"
    done
    until_true not_running "sleep $time"
    nothing_left() { [ -z "$(find "$TMPDIR" -mindepth 1 ! -name err)" ]; }
    until_true nothing_left
    no_memory() { [ -z "$(find /dev/shm -name "muster-*-$(printf %x "$pid")-*")" ]; } # the owner's number is in the name
    until_true no_memory
}

@test "a worker that is killed in the middle fails its job only" {
    mkfifo go
    muster map -j2 -k --joblog log 'if [ {} = 1 ]; then echo $PPID >victim; cat go; fi; echo {}' ::: 1 2 3 4 >out 2>err 3>&- &
    pid=$!
    started+=("$pid")
    until_true test -s victim
    kill -KILL "$(cat victim)"
    result=0
    wait "$pid" || result=$?
    [ "$result" = 1 ]
    [ "$(cat out)" = $'2\n3\n4' ]
    grep -q 'job 1 ' err
    [ "$(grep -P '^1\t' log | cut -f7,8)" = $'-1\t9' ]
    run muster map -k --joblog log --resume-failed echo ::: 1 2 3 4
    [ "$output" = 1 ]
}

@test "a worker that is killed: --retries runs the job again" {
    run muster map -j1 --retries 2 '[ -e once ] || { touch once; kill -KILL $PPID; sleep 60; }; echo {}' ::: 1
    [ "$status" = 0 ]
    [[ $'\n'$output$'\n' == *$'\n1\n'* ]]
}

@test "a job that prints more than can be carried fails and says so" {
    run bash -c 'muster map "head -c 32000000 /dev/zero" ::: a 2>err | wc -c'
    [ "$output" = 31457280 ]
    grep -q 'cut off' err
}

@test "--delay leaves time between starts" {
    local start=$EPOCHREALTIME
    muster map -j4 --delay 0.2 true ::: 1 2 3 4
    [ "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN {print (b - a >= 0.6)}')" = 1 ]
}

@test "--load and --memfree start nothing while the machine is busy or full" {
    run muster map --load 10000 --memfree 1k echo ::: a
    [ "$output" = a ]
    run timeout 1 muster map --memfree 1000T touch broken ::: a
    [ "$status" = 124 ]
    [ ! -e broken ]
}

@test "no pool at the URL is an error" {
    run muster map --pool ipc://"$PWD"/nobody.sock echo ::: a
    [ "$status" = 255 ]
    run muster map --pool nonsense echo ::: a
    [ "$status" = 255 ]
    [[ $output == *nonsense* ]]
}
