#!/usr/bin/env bats
# Completion in bash.

load helpers

# complete WORD...: what is offered for the last word.
complete_words() {
    bash -c '
        source "$1"; shift
        compopt() { :; }
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _muster
        printf "%s\n" "${COMPREPLY[@]}"
    ' bash "$BATS_TEST_DIRNAME/../../cli/completion/muster.bash" "$@"
}

@test "commands" {
    [ "$(complete_words muster '' | sort | tr '\n' ' ')" = '--help --version call help map status ' ]
    [ "$(complete_words muster st)" = status ]
    [ "$(complete_words muster help c)" = call ]
}

@test "every option of a command" {
    [ "$(complete_words muster map --keep)" = --keep-order ]
    [ "$(complete_words muster map --jobl)" = --joblog ]
    [ "$(complete_words muster map --resume-)" = --resume-failed ]
    [ "$(complete_words muster call --ra)" = --raw ]
    [ "$(complete_words muster status --wa)" = --watch ]
    complete_words muster map -- | grep -qx -- --tagstring
    complete_words muster map - | grep -qx -- -I
}

@test "values and files" {
    touch items.txt
    [ "$(complete_words muster map --halt now,s)" = now,success=1 ]
    [ "$(complete_words muster map -a it)" = items.txt ]
    [ "$(complete_words muster map gzip ::: it)" = items.txt ]
    [ "$(MUSTER_POOL=tcp://farm:1 complete_words muster status --pool tcp://f)" = tcp://farm:1 ]
}
