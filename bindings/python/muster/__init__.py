"""muster: multiprocessing's names, for a pool that is faster and can be a cluster.

    import muster as multiprocessing

    with multiprocessing.Pool() as pool:
        print(pool.map(abs, [-1, -2]))

Importing this imports little; each name brings what it needs when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing takes longer to import than all the rest
if TYPE_CHECKING:
    from multiprocessing import (
        AuthenticationError,
        BufferTooShort,
        ProcessError,
        TimeoutError,
        active_children,
        cpu_count,
        current_process,
        freeze_support,
        get_all_start_methods,
        get_logger,
        get_start_method,
        log_to_stderr,
        parent_process,
        set_executable,
        set_forkserver_preload,
        set_start_method,
    )
    from typing import Any

    from muster.context import get_context
    from muster.errors import (
        ConnectError,
        Error,
        TaskError,
        WorkerLostError,
    )
    from muster.pool import AsyncResult, Pool
    from muster.tasks import task

_PLACES = {
    "AsyncResult": "muster.pool",
    "ConnectError": "muster.errors",
    "Error": "muster.errors",
    "Pool": "muster.pool",
    "TaskError": "muster.errors",
    "WorkerLostError": "muster.errors",
    "get_context": "muster.context",
    "task": "muster.tasks",
}
_MODULES = (
    "aio",
    "context",
    "errors",
    "forkserver",
    "forwarding",
    "futures",
    "iteration",
    "joblib",
    "output",
    "pool",
    "preparation",
    "reduction",
    "results",
    "tasks",
    "worker",
)
# What the standard module has and can be had as it is, and what it has and is missing here.
AS_THEY_ARE = (
    "AuthenticationError",
    "BufferTooShort",
    "ProcessError",
    "TimeoutError",
    "active_children",
    "allow_connection_pickling",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
)

MISSING = (
    "Array",
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "JoinableQueue",
    "Lock",
    "Manager",
    "Pipe",
    "Process",
    "Queue",
    "RLock",
    "RawArray",
    "RawValue",
    "Semaphore",
    "SimpleQueue",
    "Value",
)

_STANDARD_MODULES = ("connection", "dummy", "shared_memory", "util")

__all__ = [
    "AsyncResult",
    "AuthenticationError",
    "BufferTooShort",
    "ConnectError",
    "Error",
    "Pool",
    "ProcessError",
    "TaskError",
    "TimeoutError",
    "WorkerLostError",
    "active_children",
    "cpu_count",
    "current_process",
    "freeze_support",
    "get_all_start_methods",
    "get_context",
    "get_logger",
    "get_start_method",
    "log_to_stderr",
    "parent_process",
    "set_executable",
    "set_forkserver_preload",
    "set_start_method",
    "task",
]


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(importlib.import_module(_PLACES[name]), name)
    elif name in _MODULES:
        return importlib.import_module(f"muster.{name}")
    elif name in _STANDARD_MODULES:
        return importlib.import_module(f"multiprocessing.{name}")
    elif name == "__version__":
        return importlib.import_module("muster._muster").VERSION
    elif name in AS_THEY_ARE:
        value = getattr(importlib.import_module("multiprocessing"), name)
    elif name in MISSING:
        value = importlib.import_module("muster.context").missing(name)
    else:
        raise AttributeError(f"module 'muster' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PLACES, *_MODULES, *AS_THEY_ARE, *MISSING})
