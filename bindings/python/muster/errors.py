"""Errors that muster raises of its own accord, and how a failed call becomes an exception.

What a task itself raises reaches the caller as it is, with the worker's traceback as its cause.
"""

from __future__ import annotations

import multiprocessing
import pickle
from typing import Any

from muster import _muster

EINVAL, ENOMEM, EAGAIN, ETIMEDOUT, ECANCELED, ELOST, ETASK, ENOFUNCTION, ECLOSED = range(-1, -10, -1)
ELIMIT, EPROTOCOL, EVERSION, EAUTH, ECONNECT, EURL, EPLUGIN, ESYSTEM, ETYPE, EENCODING, EWORKERS = range(-10, -21, -1)


class Error(multiprocessing.ProcessError):
    """What muster itself has to say; `status` is one of the numbers MUSTER_E... of muster.h."""

    def __init__(self, message: str, status: int = ETASK) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status), self.__dict__


class ConnectError(Error, ConnectionError):
    """Nobody answers at the pool's URL, or what answers cannot be used."""


class TaskError(Error, RuntimeError):
    """A task failed and there is no exception to raise: it ran in another language, its exception cannot be rebuilt
    here, or it wanted to end the process. `kind` is the worker's name for the error."""

    kind: str = ""
    message: str = ""
    traceback: str = ""


class WorkerLostError(Error, RuntimeError):
    """The worker died, or was cut off, while it ran the task.

    It is a RuntimeError, as concurrent.futures' BrokenExecutor is, and a multiprocessing.ProcessError. `signal` is 0 if
    none ended the worker, `exit_status` -1 if it did not exit.
    """

    worker: str = ""
    host: str = ""
    pid: int = 0
    signal: int = 0
    exit_status: int = -1
    task: str = ""


def translate(error: _muster.Error) -> Exception:
    """The Python exception for a function of libmuster that failed."""
    status, detail = error.args[0], error.args[1]
    text = detail or _muster.strerror(status)
    if status == ENOMEM:
        return MemoryError(text)
    if status == EAUTH:
        return multiprocessing.AuthenticationError(text)
    if status in (EINVAL, EURL):
        return ValueError(text)
    if status == ECLOSED:
        return ValueError(f"Pool not running: {text}")
    if status in (ECONNECT, EVERSION):
        return ConnectError(text, status)
    return Error(text, status)


def cancelled(message: str) -> Exception:
    from concurrent.futures import CancelledError

    return CancelledError(message)


def _lost(failure: _muster.Failure, task: str) -> WorkerLostError:
    end = ""
    if failure.signal:
        end = f" was ended by signal {failure.signal}"
    elif failure.exit_status >= 0:
        end = f" exited with status {failure.exit_status}"
    who = f"worker {failure.worker or '?'} (host {failure.host or '?'}, pid {failure.pid or '?'})"
    reason = f"{who}{end or ' was lost'} while it ran {task}"
    if not end and failure.message:
        reason += f": {failure.message}"
    error = WorkerLostError(reason, failure.status)
    error.worker, error.host, error.pid = failure.worker, failure.host, failure.pid
    error.signal, error.exit_status, error.task = failure.signal, failure.exit_status, task
    return error


def _substitute(failure: _muster.Failure, task: str, why: str) -> Exception:
    text = f"{failure.kind}: {failure.message}" if failure.kind else failure.message
    error = TaskError(f"{task} failed with {text}{why}", failure.status)
    error.kind, error.message, error.traceback = failure.kind, failure.message, failure.traceback
    return error


def with_traceback(error: BaseException, text: str) -> BaseException:
    """The exception with the worker's traceback as its cause, as multiprocessing shows it."""
    if text:
        from multiprocessing import pool

        remote: Any = pool.RemoteTraceback  # type: ignore[attr-defined]
        error.__cause__ = remote(f'\n"""\n{text}"""')
    return error


def from_task(failure: _muster.Failure, task: str) -> BaseException:
    """What the caller of a failed call gets."""
    status = failure.status
    if status == ELOST:
        return _lost(failure, task)
    if status == ETIMEDOUT:
        limit = failure.message or "its time limit ran out"
        return multiprocessing.TimeoutError(f"{task} was stopped: {limit}")
    if status == ECANCELED:
        return cancelled(f"{task} was cancelled")
    if status == ECLOSED:
        return cancelled(f"{task} has no result: its pool was terminated")
    if status == ENOMEM and failure.value is None:
        return MemoryError(failure.message)
    if status != ETASK:
        return Error(f"{task}: {failure.message or _muster.strerror(status)}", status)
    if failure.value is None:
        return with_traceback(_substitute(failure, task, ""), failure.traceback)
    try:
        error = pickle.loads(failure.value)
        if not isinstance(error, BaseException):
            raise TypeError(f"it was rebuilt as {type(error).__name__}")
    except Exception as reason:
        why = f" (the exception cannot be rebuilt here: {type(reason).__name__}: {reason})"
        error = _substitute(failure, task, why)
    return with_traceback(error, failure.traceback)
