# The tests of a sanitizer build.
#
# A report of a worker or of musterd would end in a stream that a test captures, or in the worker's exit status, and be
# overlooked; so everything that starts processes writes reports to files, and the last test of the run fails if there
# is any, and shows them.

set(MUSTER_REPORT_DIR "${CMAKE_BINARY_DIR}/sanitizer")

set(address_options strict_string_checks=1 detect_stack_use_after_return=1 allocator_may_return_null=1)
set(thread_options second_deadlock_stack=1 atexit_sleep_ms=0 suppressions=${CMAKE_CURRENT_SOURCE_DIR}/tsan.supp)
# A task that crashes on purpose must die of its signal, as it does without a sanitizer.
set(process_options handle_segv=0 handle_sigbus=0 handle_sigfpe=0 handle_sigill=0 handle_abort=0
                    log_path=${MUSTER_REPORT_DIR}/report)

# Leak detection stops the process like a debugger does, which some containers forbid.
if(MUSTER_SANITIZE MATCHES "address")
    include(CheckCSourceRuns)
    set(CMAKE_REQUIRED_FLAGS "-fsanitize=address")
    check_c_source_runs("int main(void) { return 0; }" MUSTER_LEAK_DETECTION)
    unset(CMAKE_REQUIRED_FLAGS)
    if(MUSTER_LEAK_DETECTION)
        list(APPEND address_options detect_leaks=1)
    else()
        message(WARNING "the leak detector cannot run here (ptrace is forbidden?): leaks go unnoticed")
        list(APPEND address_options detect_leaks=0)
    endif()
endif()

function(muster_sanitize_test name label)
    set(address ${address_options})
    set(undefined print_stacktrace=1)
    set(thread ${thread_options})
    if(label STREQUAL "python") # the interpreter itself leaves much behind on purpose
        list(APPEND address detect_leaks=0)
    endif()
    if(label MATCHES "e2e|cli|example|python")
        foreach(options address undefined thread)
            list(APPEND ${options} ${process_options})
        endforeach()
        set_property(TEST ${name} PROPERTY FIXTURES_REQUIRED sanitizer)
    endif()
    foreach(options address undefined thread)
        list(JOIN ${options} ":" ${options})
    endforeach()
    set_property(TEST ${name} APPEND PROPERTY ENVIRONMENT "ASAN_OPTIONS=${address}" "UBSAN_OPTIONS=${undefined}"
                                              "LSAN_OPTIONS=print_suppressions=0:suppressions=${CMAKE_CURRENT_SOURCE_DIR}/lsan.supp"
                                              "TSAN_OPTIONS=${thread}")
endfunction()

add_test(NAME sanitizer.start COMMAND sh -c "rm -rf \"$1\" && mkdir -p \"$1\"" sh "${MUSTER_REPORT_DIR}")
# An allocation that fails, as some tests want it to, is said in a report too, but is none.
add_test(NAME sanitizer.reports COMMAND sh -c "cd \"$1\" || exit 1; set -- $(grep -lvs 'WARNING.*failed to allocate' report.*)
    [ $# -gt 0 ] || exit 0
    echo \"$# reports in $PWD, the first of them:\"; head -n 60 \"$1\"; grep -h SUMMARY \"$@\" | sort | uniq -c; exit 1"
                                        sh "${MUSTER_REPORT_DIR}")
set_tests_properties(sanitizer.start PROPERTIES FIXTURES_SETUP sanitizer LABELS "e2e;cli;example;python" TIMEOUT 60)
set_tests_properties(sanitizer.reports PROPERTIES FIXTURES_CLEANUP sanitizer LABELS "e2e;cli;example;python" TIMEOUT 60)
