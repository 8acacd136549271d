/*
 * The progress line; see progress.h.
 */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/progress.h"
#include "core/clock.h"

#define REDRAW_NS (200 * NS_PER_MS)
#define BAR_COLUMNS_LEAST 10

static void format_time(char *text, size_t size, double seconds)
{
    unsigned long whole = seconds < 0 ? 0 : seconds > 8640000 ? 8640000 : (unsigned long)(seconds + 0.5);
    if (whole >= 3600)
        snprintf(text, size, "%lu:%02lu:%02lu", whole / 3600, whole / 60 % 60, whole % 60);
    else
        snprintf(text, size, "%lu:%02lu", whole / 60, whole % 60);
}

/* "  450/1000 45%" and what stands right of the bar: rate, time, failures. */
static void format_parts(const struct progress_count *count, double seconds, char *left, char *right, size_t size)
{
    char time[32], failed[40] = "";
    double rate = seconds > 0 ? (double)count->done / seconds : 0;
    if (count->failed > 0)
        snprintf(failed, sizeof failed, "  %llu failed", (unsigned long long)count->failed);
    if (count->total == 0) {
        format_time(time, sizeof time, seconds);
        snprintf(left, size, "%llu", (unsigned long long)count->done);
        snprintf(right, size, "%.*f/s  %s%s", rate < 10 ? 1 : 0, rate, time, failed);
        return;
    }
    double share = (double)count->done / (double)count->total;
    snprintf(left, size, "%llu/%llu %3.0f%%", (unsigned long long)count->done, (unsigned long long)count->total,
             share * 100);
    if (count->done > 0)
        format_time(time, sizeof time, seconds / (double)count->done * (double)(count->total - count->done));
    else
        snprintf(time, sizeof time, "-:--");
    snprintf(right, size, "%.*f/s  %s left%s", rate < 10 ? 1 : 0, rate, time, failed);
}

size_t progress_format(char *text, size_t size, const struct progress_count *count, double seconds, size_t width)
{
    char left[96], right[160];
    format_parts(count, seconds, left, right, sizeof left);
    size_t used = strlen(left) + strlen(right) + 5; /* spaces and brackets */
    int length;
    if (count->total > 0 && width >= used + BAR_COLUMNS_LEAST) {
        size_t columns = width - used < 40 ? width - used : 40;
        size_t full = (size_t)((double)columns * (double)count->done / (double)count->total);
        char bar[41];
        memset(bar, '.', columns);
        memset(bar, '#', full < columns ? full : columns);
        bar[columns] = '\0';
        length = snprintf(text, size, "%s [%s] %s", left, bar, right);
    } else {
        length = snprintf(text, size, "%s  %s", left, right);
    }
    size_t shown = length < 0 ? 0 : (size_t)length;
    if (shown > size - 1)
        shown = size - 1;
    if (shown > width)
        shown = width;
    text[shown] = '\0';
    return shown;
}

void progress_start(struct progress *progress, bool wanted, uint64_t now_ns)
{
    *progress = (struct progress){.shown = wanted && isatty(STDERR_FILENO), .start_ns = now_ns, .next_ns = now_ns};
}

static void draw(struct progress *progress, const struct progress_count *count, uint64_t now_ns)
{
    struct winsize window = {0};
    char line[512];
    size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1u : 79;
    progress_format(line, sizeof line, count, (double)(now_ns - progress->start_ns) / NS_PER_S, width);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
    progress->drawn = true;
    progress->next_ns = now_ns + REDRAW_NS;
}

void progress_show(struct progress *progress, const struct progress_count *count, uint64_t now_ns)
{
    if (progress->shown && now_ns >= progress->next_ns)
        draw(progress, count, now_ns);
}

void progress_clear(struct progress *progress)
{
    if (!progress->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    progress->drawn = false;
}

void progress_end(struct progress *progress, const struct progress_count *count, uint64_t now_ns)
{
    if (!progress->shown)
        return;
    draw(progress, count, now_ns);
    fputc('\n', stderr);
    fflush(stderr);
    progress->drawn = false;
}
