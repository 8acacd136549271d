#!/usr/bin/env bats
# map, call and status against a musterd.
# shellcheck disable=SC2016

load helpers

# Starts a musterd and two workers with commands and the functions of the test.
start_pool() {
    pool=ipc://$PWD/pool.sock
    musterd --listen "$pool" 3>&- 2>musterd.log &
    started+=($!)
    until_true test -S pool.sock
    muster-worker -n 2 --exec --load "$TEST_PLUGIN_DIR/cli_functions.so" "$@" "$pool" 3>&- 2>worker.log &
    started+=($!)
    until_true has_workers 2
}

has_workers() {
    [ "$(muster status --pool "$pool" --json | tr -d ' \n' | grep -o '"state":"\(idle\|busy\)"' | wc -l)" = "$1" ]
}

@test "map runs on the workers of a pool" {
    start_pool
    run bash -c "seq 500 | muster map --pool $pool -k echo"
    [ "$status" = 0 ]
    [ "$output" = "$(seq 500)" ]
    run muster map --pool "$pool" -j 1 --joblog log 'exit {}' ::: 0 3
    [ "$status" = 1 ]
    [ "$(sed -n 2p log | cut -f2)" = "$pool" ]
}

@test "map passes what it is told to: directory, variables, blocks" {
    start_pool
    mkdir sub
    cd sub
    NAME=here run muster map --pool "$pool" --workdir . --env NAME 'pwd -P; echo $NAME; :' ::: a
    [[ $output == */sub$'\n'here ]]
    seq 100000 | muster map --pool "$pool" -k --pipe --block 300k cat >out
    seq 100000 | cmp - out
}

@test "map chooses workers by label" {
    start_pool --label kind=big
    run muster map --pool "$pool" --label kind=big echo ::: a
    [ "$output" = a ]
}

@test "kill -9 of map ends its jobs in the pool" {
    local time pid
    start_pool
    time=$(unique_sleep)
    muster map --pool "$pool" sleep ::: "$time" "$time" 3>&- &
    pid=$!
    until_true running "^sleep $time"
    kill -KILL "$pid"
    wait "$pid" || true
    until_true not_running "^sleep $time"
    has_workers 2
}

@test "call takes the pool from --pool or MUSTER_POOL" {
    start_pool
    run muster call --pool "$pool" add 1 2
    [ "$output" = 3 ]
    MUSTER_POOL=$pool run muster call add 1 2
    [ "$output" = 3 ]
}

@test "status shows workers, functions and tasks" {
    start_pool --label kind=big
    muster call --pool "$pool" add 1 2
    run muster status --pool "$pool"
    [ "$status" = 0 ]
    [[ $output == *"2 workers"* ]]
    [[ $output == *WORKER*STATE*LABELS* ]]
    [[ $output == *kind=big* ]]
    [[ $output == *FUNCTION*QUEUED*MEAN* ]]
    [[ $output == *add* ]]
    MUSTER_POOL=$pool run muster status --json
    [ "$status" = 0 ]
    [[ $output == "{"*'"tasks"'*"}" ]]
}

@test "status --watch goes on until interrupted" {
    start_pool
    muster status --pool "$pool" --watch --interval 0.1 >out 3>&- &
    started+=($!)
    shown_thrice() { [ "$(grep -c '^muster ' out)" -ge 3 ]; }
    until_true shown_thrice
}

@test "status without a pool is an error" {
    run muster status
    [ "$status" = 2 ]
    run muster status --pool ipc://"$PWD"/nobody.sock
    [ "$status" = 1 ]
    run muster status --nonsense
    [ "$status" = 2 ]
}
