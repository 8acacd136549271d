/*
 * The one log call. Lines go to stderr (or the hook) as "<time> <level> <program>[pid]: text"; levels as in syslog.
 */
#ifndef CORE_LOG_H
#define CORE_LOG_H

enum log_level { LOG_LEVEL_ERROR = 3, LOG_LEVEL_WARNING = 4, LOG_LEVEL_INFO = 6, LOG_LEVEL_DEBUG = 7 };

extern enum log_level log_threshold; /* lines above it are dropped; default LOG_LEVEL_WARNING */
extern const char *log_program;
extern void (*log_hook)(enum log_level level, const char *text); /* NULL: stderr */

void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
int log_level_parse(const char *name, enum log_level *level); /* "error", "warning", "info", "debug" */

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                              \
    do {                                            \
        if (log_threshold >= LOG_LEVEL_DEBUG)       \
            log_line(LOG_LEVEL_DEBUG, __VA_ARGS__); \
    } while (0)

#endif
