#!/usr/bin/env bats
# `muster call`: JSON in, JSON out.

bats_require_minimum_version 1.5.0
load helpers

plugin=${TEST_PLUGIN_DIR-}/cli_functions.so

@test "calls a function of a plugin and prints the result" {
    run muster call --load "$plugin" add 2 -5
    [ "$status" = 0 ]
    [ "$output" = -3 ]
}

@test "every kind of JSON comes back as it went" {
    local json
    for json in null true -1 1.5 9223372036854775807 '"text"' '"é \" \\ \n"' '[1, [2, []], {}]' '{"a": {"b": [null]}}' \
        '{"$bytes": "AP8="}' '""' '{"$bytes": ""}'; do
        run muster call --load "$plugin" echo "$json"
        [ "$status" = 0 ]
        [ "$output" = "$json" ]
    done
    run muster call --load "$plugin" nothing
    [ "$output" = null ]
}

@test "--raw prints text and bytes as they are" {
    muster call --load "$plugin" --raw echo '"text"' >out
    [ "$(cat out)" = text ]
    [ "$(wc -c <out)" = 4 ]
    muster call --load "$plugin" --raw echo '{"$bytes": "AP8K"}' >out
    printf '\0\xff\n' | cmp - out
    run muster call --load "$plugin" --raw echo '[1]'
    [ "$output" = '[1]' ]
}

@test "an error of the function is told with kind and message, exit status 1" {
    run --separate-stderr muster call --load "$plugin" fail
    [ "$status" = 1 ]
    [ "$output" = '' ]
    [[ $stderr == *"Refusal: it does not want to"* ]]
    run muster call --load "$plugin" add 1
    [ "$status" = 1 ]
    run muster call --load "$plugin" add 1 '"x"'
    [ "$status" = 1 ]
}

@test "an unknown function, a crash and a time limit are errors" {
    run muster call --load "$plugin" nonsense
    [ "$status" = 1 ]
    [[ $output == *nonsense* ]]
    run muster call --load "$plugin" crash
    [ "$status" = 1 ]
    [[ $output == *"signal 6"* || $output == *SIGABRT* ]]
    run muster call --load "$plugin" --timeout 0.2 wait
    [ "$status" = 1 ]
}

@test "arguments that are not JSON are refused with exit status 2" {
    local json
    for json in text '[1' '' '{"$bytes": "!"}' '1 2' 99999999999999999999; do
        run muster call --load "$plugin" echo "$json"
        [ "$status" = 2 ]
        [[ $output == *"argument 1 is not JSON"* ]]
    done
}

@test "a plugin that is missing or is none is an error" {
    run muster call --load ./missing.so echo 1
    [ "$status" = 1 ]
    [[ $output == *missing.so* ]]
    echo text >text.so
    run muster call --load ./text.so echo 1
    [ "$status" = 1 ]
    [[ $output == *text.so* ]]
}

@test "wrong command lines are refused with exit status 2" {
    run muster call
    [ "$status" = 2 ]
    run muster call echo 1
    [ "$status" = 2 ]
    [[ $output == *MUSTER_POOL* ]]
    run muster call --load x.so --pool tcp://localhost:1 echo
    [ "$status" = 2 ]
    run muster call --nonsense
    [ "$status" = 2 ]
    run muster call --help
    [ "$status" = 0 ]
    [[ $output == *Examples:* ]]
}

@test "a result that cannot be written is an error" {
    run bash -c "muster call --load '$plugin' echo 1 >/dev/full"
    [ "$status" = 1 ]
    [[ $output == *"No space left"* ]]
}
