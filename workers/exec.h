/*
 * The function "muster.exec": runs a command and gives what it printed and how it ended. Arguments and result are
 * described in docs/architecture.md, section Commands.
 */
#ifndef WORKERS_EXEC_H
#define WORKERS_EXEC_H

#include "muster.h"

#define EXEC_NAME "muster.exec"
#define EXEC_OUTPUT_DEFAULT (16 * 1024 * 1024) /* bytes kept of stdout and of stderr unless the call says otherwise */

int exec_command(muster_task *task);

#endif
