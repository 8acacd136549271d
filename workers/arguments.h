/*
 * The memory of a task's arguments, for views that may outlive the task: a language whose objects borrow their bytes
 * cannot know when the last of them goes.
 */
#ifndef WORKERS_ARGUMENTS_H
#define WORKERS_ARGUMENTS_H

#include "core/segment.h"
#include "workers/worker.h"

/* Counts its references: one of the task's, as long as it runs, and the others of whoever holds it. */
struct arguments;

/* Of a task whose arguments are in `segment`, which it takes over if they are, or in `held`; NULL: they are in memory
 * that is never freed. With the task's reference. NULL: no memory. */
struct arguments *arguments_create(struct segment *segment, struct held_task *held);
struct arguments *arguments_hold(struct arguments *arguments);
/* From any thread. NULL is allowed. */
void arguments_release(struct arguments *arguments);

/* The function has returned and its outcome has not been told. If they are still held, what the caller may soon write
 * over becomes a copy, at the same place. */
void arguments_detach(struct arguments *arguments);

#endif
