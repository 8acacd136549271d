/*
 * The rules of --halt and the exit status that follows from them; see halt.h.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/halt.h"

#define FAILED_MANY 101 /* more than 100 jobs failed */

static bool parse_amount(struct halt *halt, const char *text)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long limit = strtoull(text, &end, 10);
    halt->percent = *end == '%';
    if (halt->percent)
        end++;
    halt->limit = limit;
    return *end == '\0' && limit > 0 && (!halt->percent || limit <= 100);
}

bool halt_parse(struct halt *halt, const char *text)
{
    static const struct {
        const char *text;
        struct halt halt;
    } old[] = {{"never", {.when = HALT_NEVER}},
               {"0", {.when = HALT_NEVER}},
               {"1", {HALT_SOON, HALT_FAILED, false, 1}},
               {"2", {HALT_NOW, HALT_FAILED, false, 1}},
               {"-1", {HALT_SOON, HALT_SUCCEEDED, false, 1}},
               {"-2", {HALT_NOW, HALT_SUCCEEDED, false, 1}}};
    static const char *const whys[] = {"fail=", "success=", "done="};

    for (size_t i = 0; i < sizeof old / sizeof old[0]; i++) {
        if (strcmp(text, old[i].text) == 0) {
            *halt = old[i].halt;
            return true;
        }
    }
    *halt = (struct halt){.when = HALT_SOON, .why = HALT_FAILED};
    if (strchr(text, '%') && !strchr(text, ','))
        return parse_amount(halt, text);
    if (strncmp(text, "now,", 4) == 0)
        halt->when = HALT_NOW;
    else if (strncmp(text, "soon,", 5) != 0)
        return false;
    text = strchr(text, ',') + 1;
    for (int why = HALT_FAILED; why <= HALT_DONE; why++) {
        size_t length = strlen(whys[why]);
        if (strncmp(text, whys[why], length) == 0) {
            halt->why = (enum halt_why)why;
            return parse_amount(halt, text + length);
        }
    }
    return false;
}

bool halt_reached(const struct halt *halt, uint64_t failed, uint64_t succeeded, uint64_t total)
{
    uint64_t count = halt->why == HALT_FAILED ? failed : halt->why == HALT_SUCCEEDED ? succeeded : failed + succeeded;
    if (halt->when == HALT_NEVER)
        return false;
    if (!halt->percent)
        return count >= halt->limit;
    return total > 0 && (double)count * 100 >= (double)halt->limit * (double)total;
}

int halt_exit_status(const struct halt *halt, bool halted, uint64_t failed, uint64_t total, int last)
{
    int many = failed > 100 ? FAILED_MANY : (int)failed;
    if (!halted || halt->why == HALT_DONE)
        return many;
    if (halt->why == HALT_SUCCEEDED)
        return 0;
    if (halt->percent && total > 0) {
        uint64_t percent = failed * 100 / total;
        return percent < 1 ? 1 : (int)percent;
    }
    return halt->limit == 1 ? last : many;
}
