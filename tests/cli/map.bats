#!/usr/bin/env bats
# What `muster map` makes of items and commands.
# shellcheck disable=SC2016

load helpers

same() {
    [ "$output" = "$1" ] || {
        printf 'expected:\n%s\nfound:\n%s\n' "$1" "$output"
        return 1
    }
}

@test "runs the command once for each line" {
    run muster map -k echo <<<$'a\nb\nc'
    [ "$status" = 0 ]
    same $'a\nb\nc'
}

@test "takes items after :::" {
    run muster map -k -j3 echo x ::: a 'b  c' d
    [ "$status" = 0 ]
    same $'x a\nx b  c\nx d'
}

@test "combines several ::: with the last running fastest" {
    run muster map -k echo {1}-{2} ::: a b ::: 1 2
    same $'a-1\na-2\nb-1\nb-2'
}

@test "takes items from files" {
    printf 'a\nb\n' >one
    printf '1\n2\n' >two
    run muster map -k -a one echo
    same $'a\nb'
    run muster map -k echo :::: one two
    same $'a 1\na 2\nb 1\nb 2'
    run muster map -k -a one echo ::: x
    same $'a x\nb x'
}

@test "replacement strings" {
    run muster map -k echo {} {.} {/} {//} {/.} {#} ::: /a/b.c.d
    same '/a/b.c.d /a/b.c b.c.d /a b.c 1'
}

@test "another placeholder with -I" {
    run muster map -I @ echo x@y {} ::: a
    same 'xay a'
}

@test "several items for each job with -n" {
    run muster map -k -n 2 echo ::: a b c
    same $'a b\nc'
    run muster map -k -N 2 echo {2} {1} ::: a b c d
    same $'b a\nd c'
}

@test "columns with --colsep" {
    run muster map -k --colsep , echo {2} {1} <<<$'a,b\nc,d'
    same $'b a\nd c'
    run muster map -k --colsep ' *[|] *' echo {2} {1} <<<'a | b'
    same 'b a'
    run muster map --colsep '(' true ::: a
    [ "$status" = 0 ]
    run muster map --colsep '(a' true ::: a
    [ "$status" = 255 ]
    [[ $output == *"regular expression"* ]]
}

@test "items with newlines, quotes and bytes that are not UTF-8 arrive intact" {
    printf 'a\nb\0it'\''s "quoted" $HOME `id` \\ *\0\xff\xfe\x01\0 \0\0' >items
    muster map -k -0 printf '%s\0' {} <items >out
    cmp items out
    muster map -k -0 'printf "%s\\0" {}' <items >out
    cmp items out
    muster map -k -0 --tag printf 'x\n' <items >out
    head -n1 out | grep -q '^a$'
}

@test "an item never becomes shell code" {
    run muster map 'echo {}' ::: '; touch broken' '$(touch broken)' '`touch broken`' "' ; touch broken '"
    [ "$status" = 0 ]
    [ ! -e broken ]
    run muster map echo ::: '; touch broken' '$(touch broken)'
    [ ! -e broken ]
}

@test "a single word with shell syntax is run by the shell, several words are not" {
    run muster map 'echo {} | tr a b' ::: aa
    same bb
    run muster map echo {} '|' tr a b ::: aa
    same 'aa | tr a b'
    run muster map --shell echo {} '|' tr a b ::: aa
    same bb
    run muster map -q 'echo x' ::: a
    [ "$status" = 1 ]
    told 'echo x: No such file'
    MUSTER_SHELL=/bin/bash run muster map 'echo ${BASH_VERSION:+bash} {}' ::: a
    same 'bash a'
}

@test "without a command each item is a command line" {
    run muster map -k <<<$'echo a | tr a b\necho c'
    same $'b\nc'
}

@test "a zero byte in an item fails that job only" {
    printf 'a\0b\nc\n' >items
    run muster map -k echo <items
    [ "$status" = 1 ]
    [[ $output == *"zero byte"* ]]
    [[ $output == *c ]]
}

@test "zero items run nothing and are no error" {
    run muster map touch broken </dev/null
    [ "$status" = 0 ]
    same ''
    run muster map touch broken :::
    [ "$status" = 0 ]
    [ ! -e broken ]
    run muster map --pipe touch broken </dev/null
    [ "$status" = 0 ]
    [ ! -e broken ]
}

@test "-r leaves out blank items, otherwise they are items" {
    run muster map -k echo x{}x <<<$'a\n\nb'
    same $'xax\nxx\nxbx'
    run muster map -k -r echo x{}x <<<$'a\n\n \nb'
    same $'xax\nxbx'
}

@test "-d chooses what ends an item" {
    run bash -c 'printf a,b | muster map -k -d , echo'
    same $'a\nb'
    run bash -c 'printf "a\\tb" | muster map -k -d "\\t" echo'
    same $'a\nb'
}

@test "--pipe feeds every line once, in blocks that end with a line" {
    seq 100000 >numbers
    muster map -k --pipe --block 64k cat <numbers >out
    cmp numbers out
    run bash -c 'muster map -k --pipe --block 64k wc -l <numbers | wc -l'
    [ "$output" -ge 9 ]
    run muster map -k --pipe -N 2 'tr "\n" -; echo {#}' <<<$'a\nb\nc'
    same $'a-b-1\nc-2'
}

@test "--pipe carries a block with a long line and bytes of every kind" {
    head -c 3000000 /dev/urandom >bytes
    muster map -k --pipe --block 100k cat <bytes >out
    cmp bytes out
}

@test "--pipe refuses items and replacement strings" {
    run muster map --pipe cat ::: a
    [ "$status" = 255 ]
    run muster map --pipe cat {} </dev/null
    [ "$status" = 255 ]
}

@test "-k keeps the order, whatever takes longer" {
    run muster map -k -j4 'test {} = 1 && sleep 0.3; echo {}' ::: 1 2 3 4 5 6 7 8
    same $'1\n2\n3\n4\n5\n6\n7\n8'
}

@test "output of different jobs is never mixed" {
    muster map -j4 'for i in 1 2 3 4 5; do echo {}; sleep 0.01; done' ::: a b c d e f g h >out
    [ "$(uniq out | wc -l)" = 8 ]
}

@test "--tag and --tagstring mark every line" {
    run muster map -k --tag 'echo x; echo y; :' ::: a b
    same $'a\tx\na\ty\nb\tx\nb\ty'
    run muster map -k --tagstring '{#}:{/}' echo ::: /x/a
    same $'1:a\t/x/a'
}

@test "standard error comes through" {
    run bash -c 'muster map "echo out; echo err >&2; :" ::: a 2>err'
    same out
    [ "$(cat err)" = err ]
}

@test "--dry-run prints the commands and runs nothing" {
    run muster map --dry-run touch {} x{#} ::: 'a b' $'c\nd'
    [ "$status" = 0 ]
    same $'touch \'a b\' x1\ntouch $\'c\\nd\' x2'
    run muster map --dry-run 'echo {} | wc' ::: 'a b'
    same "echo 'a b' | wc"
    [ -z "$(ls)" ]
}

@test "--verbose tells each command" {
    run bash -c 'muster map -t echo ::: "a b" 2>err'
    same 'a b'
    [ "$(cat err)" = "echo 'a b'" ]
}

@test "--results keeps the output of each job in files" {
    run muster map -k --results out 'echo {}; echo e >&2' ::: a/b .. ''
    [ "$status" = 0 ]
    [ "$(cat 'out/1/a\_b/stdout')" = a/b ]
    [ "$(cat 'out/1/a\_b/stderr')" = e ]
    [ "$(cat 'out/1/\../seq')" = 2 ]
    [ -e 'out/1/\/stdout' ]
    muster map --results two echo ::: a ::: b >/dev/null
    [ "$(cat two/1/a/2/b/stdout)" = 'a b' ]
    muster map --results 'by/{#}.txt' echo ::: a >/dev/null
    [ "$(cat by/1.txt)" = a ]
    [ -e by/1.txt.err ] && [ -e by/1.txt.seq ]
    seq 10 | muster map --pipe -N 5 --results piped cat >/dev/null
    [ "$(wc -l <piped/2/stdout)" = 5 ]
}

@test "--results that cannot be written is an error" {
    touch file
    run muster map --results file/x echo ::: a
    [ "$status" = 255 ]
    [[ $output == *"cannot write the output of job 1"* ]]
}

@test "--workdir and --env" {
    mkdir sub
    run muster map --workdir sub 'pwd -P; :' ::: a
    [[ $output == */sub ]]
    run muster map --workdir missing echo ::: a
    [ "$status" = 1 ]
    [[ $output == *missing* ]]
    run muster map --env NAME=value 'echo $NAME; :' ::: a
    same value
    NAME=here run muster map --env NAME 'echo $NAME; :' ::: a
    same here
}

@test "commands run where muster map was started, with its environment" {
    mkdir sub
    cd sub
    VARIABLE=set run muster map 'pwd -P; echo $VARIABLE; :' ::: a
    [[ $output == */sub$'\n'set ]]
}

@test "commands have no standard input but their own" {
    run bash -c 'printf "a\nb\n" | muster map -k "cat; echo {}"'
    same $'a\nb'
}

@test "a command may be ended by SIGPIPE, as it would be from a shell" {
    run muster map 'yes {} | head -n1; :' ::: a
    [ "$status" = 0 ]
    same a
    run muster map 'kill -PIPE $$' ::: a
    [ "$status" = 1 ]
}

@test "-j takes numbers, percent and differences, and refuses the rest" {
    local jobs
    for jobs in 1 2 200% +1 -1 0; do
        run muster map -j "$jobs" -k echo ::: a b
        same $'a\nb'
    done
    for jobs in x 1.5 '' 1x -- 99999999; do
        run muster map --jobs="$jobs" echo ::: a
        [ "$status" = 255 ]
        [[ $output == *--jobs* ]]
    done
}

@test "{%} is a slot that no two running jobs share" {
    muster map -j3 'mkdir lock{%} && sleep 0.02 && rmdir lock{%} && echo {%}; :' ::: 1 2 3 4 5 6 7 8 9 10 11 12 >out
    [ "$(wc -l <out)" = 12 ]
    [ "$(sort -u out | tail -n1)" -le 3 ]
}

@test "{%} in a tag" {
    run muster map -j1 --tagstring 's{%}' echo ::: a b
    same $'s1\ta\ns1\tb'
}

@test "--bar is silent where there is no terminal" {
    run muster map --bar echo ::: a
    same a
}

@test "--bar draws on a terminal" {
    command -v script >/dev/null || skip "script is not installed"
    run script -qec 'muster map --bar true ::: 1 2 3' /dev/null
    [ "$status" = 0 ]
    [[ $output == *"3/3 100%"* ]]
}

@test "wrong command lines are refused with exit status 255" {
    local words
    for words in --nonsense '-n 0 echo' '--halt later echo' '--timeout x echo' '--block 0 cat' '--resume echo' \
        '--memfree x echo' '--load x echo' '-d ab echo' '-a missing echo'; do
        # shellcheck disable=SC2086
        run muster map $words </dev/null
        [ "$status" = 255 ]
        [[ $output == "muster map: "* ]]
    done
}

@test "--help shows options and examples, --version the version" {
    run muster map --help
    [ "$status" = 0 ]
    [[ $output == *--keep-order*Examples:* ]]
    run muster map --version
    [ "$status" = 0 ]
    run muster --help
    [ "$status" = 0 ]
    [[ $output == *Examples:* ]]
    run muster --version
    [[ $output == "muster "* ]]
    run muster nonsense
    [ "$status" = 2 ]
    run muster
    [ "$status" = 2 ]
}

@test "ten thousand items, each once" {
    seq 10000 | muster map -n 100 echo | tr ' ' '\n' | sort -n >out
    seq 10000 | cmp - out
}

@test "output comes while items are still awaited" {
    mkfifo items
    muster map echo <items >out 3>&- &
    started+=($!)
    exec 4>items
    echo first >&4
    until_true grep -q first out
    echo second >&4
    until_true grep -q second out
    exec 4>&-
    wait "${started[0]}"
}

@test "a million items need no more memory than a thousand" {
    [ -r /proc/self/status ] || skip "no /proc"
    [ -z "${ASAN_OPTIONS:-}${TSAN_OPTIONS:-}" ] || skip "a sanitizer keeps memory that was freed"
    peak() {
        muster map -j2 -n 1000 "$@" 3>&- | sort -n | tail -n1
    }
    # A worker's parent is muster map itself.
    small=$(seq 10000 | peak 'awk "/VmHWM/ {print \$2}" /proc/$(awk "/PPid/ {print \$2}" /proc/$PPID/status)/status; :')
    large=$(seq 1000000 | peak 'awk "/VmHWM/ {print \$2}" /proc/$(awk "/PPid/ {print \$2}" /proc/$PPID/status)/status; :')
    [ "$small" -gt 0 ]
    [ "$large" -lt $((small + small / 2)) ]
}
