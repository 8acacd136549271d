/*
 * When jobs may start, and what the progress line says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "cli/gate.h"
#include "cli/progress.h"

static void a_gate_closes_for_delay_load_and_memory(void **state)
{
    struct gate gate;
    char path[] = "/tmp/muster-gate.XXXXXX";
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    gate_init(&gate);
    assert_false(gate_is_set(&gate));
    assert_true(gate_opens(&gate, 0));

    gate.delay_ns = 100;
    gate_started(&gate, 1000);
    assert_false(gate_opens(&gate, 1099));
    assert_true(gate_opens(&gate, 1100));

    assert_int_equal(write(fd, "2.50 1.00 0.50 1/100 42\n", 24), 24);
    gate.load_path = path;
    gate.load_limit = 3;
    assert_true(gate_opens(&gate, 2000));
    gate.load_limit = 2;
    assert_false(gate_opens(&gate, 2000));
    assert_true(gate.next_ns > 2000);

    gate_init(&gate);
    assert_int_equal(pwrite(fd, "MemTotal: 9 kB\nMemAvailable:    1024 kB\n", 39, 0), 39);
    gate.memory_path = path;
    gate.memory_free = 1024 * 1024;
    assert_true(gate_opens(&gate, 0));
    gate.memory_free++;
    assert_false(gate_opens(&gate, 0));
    close(fd);
    unlink(path);
}

static void the_bar_tells_share_rate_and_time_left(void **state)
{
    char line[300];
    (void)state;
    progress_format(line, sizeof line, &(struct progress_count){50, 2, 200}, 10, 79);
    assert_non_null(strstr(line, "50/200  25%"));
    assert_non_null(strstr(line, "5.0/s  0:30 left  2 failed"));
    assert_non_null(strchr(line, '#'));
    assert_true(strlen(line) <= 79);
    progress_format(line, sizeof line, &(struct progress_count){5000, 0, 0}, 10, 79);
    assert_string_equal(line, "5000  500/s  0:10");
    assert_int_equal(progress_format(line, sizeof line, &(struct progress_count){1, 0, 2}, 1, 5), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gate_closes_for_delay_load_and_memory),
        cmocka_unit_test(the_bar_tells_share_rate_and_time_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
