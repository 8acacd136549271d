"""concurrent.futures on a pool of muster's: ProcessPoolExecutor.

    from muster.futures import ProcessPoolExecutor

A future is a subclass of concurrent.futures.Future: `wait`, `as_completed` and asyncio take it as it is.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    InvalidStateError,
    TimeoutError,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from muster import _muster, errors, reduction
from muster.errors import WorkerLostError
from muster.pool import Pool

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_EXCEPTION",
    "BrokenExecutor",
    "BrokenProcessPool",
    "CancelledError",
    "Executor",
    "Future",
    "InvalidStateError",
    "LostWorker",
    "ProcessPoolExecutor",
    "TimeoutError",
    "as_completed",
    "wait",
]

_CALL, _ARGUMENTS = bytes((reduction.CALL,)), bytes((reduction.ARGUMENTS,))
_PENDING, _RUNNING, _CANCELLED, _FINISHED = "PENDING", "RUNNING", "CANCELLED", "FINISHED"  # as there
_loads = pickle.loads

_exiting = False
_all_calls: set[_Calls] = set()  # of executors that are open, or have calls without an outcome

SWEEP = 256  # submissions, before those that are done are forgotten


class LostWorker(WorkerLostError, BrokenProcessPool):
    """The worker died that ran this call. It is a BrokenProcessPool, for programs that wait for one; but only this call
    is lost, and the executor goes on with a new worker."""


class _Waiters(list):  # type: ignore[type-arg]
    """Those who wait for a future in `wait` or `as_completed`: with the first of them, the callback thread is asked to
    tell them."""

    def __init__(self, future: _Future) -> None:
        self.future = future

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        self.future.watch()


class _Future(Future[Any]):
    """The future of one call, or of one chunk of `map`.

    Its outcome stays in C until somebody looks: whoever calls result() waits in C and unpickles it himself. What
    concurrent.futures keeps in attributes is found out here when it is asked for. Only for callbacks and for waiters
    the pool's callback thread is asked to come by.
    """

    def __init__(self, calls: _Calls, name: str) -> None:
        self._calls = calls
        self._name = name
        self._known = _PENDING  # or FINISHED, or cancelled
        self._outcome: Any = None  # in C, as long as it is not known
        self._watched = False
        self._result = self._exception = None
        self._done_callbacks: list[Any] = []

    @property  # type: ignore[override]
    def _condition(self) -> threading.Condition:
        condition: threading.Condition | None = self.__dict__.get("_made_condition")
        return condition or self.__dict__.setdefault("_made_condition", threading.Condition())

    @property  # type: ignore[override]
    def _waiters(self) -> _Waiters:
        made: _Waiters = self.__dict__.setdefault("_made_waiters", _Waiters(self))
        return made

    @property
    def _state(self) -> str:
        if self._known != _PENDING:
            return self._known
        if self._outcome is not None and self._outcome.ready():
            self._take()
            return self._known
        return _RUNNING if self._calls.is_running(self) else _PENDING

    @_state.setter
    def _state(self, state: str) -> None:
        self._known = state

    def done(self) -> bool:
        return self._known != _PENDING or (self._outcome is not None and bool(self._outcome.ready()))

    def result(self, timeout: float | None = None) -> Any:
        self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._wait(timeout)
        return super().exception(0)

    def cancel(self) -> bool:
        """False if it runs or is done; otherwise it is taken back and never runs."""
        if not super().cancel():
            return False
        with self._condition:
            if self._known == _CANCELLED:
                self.set_running_or_notify_cancel()  # those who wait for it need not wait for a worker
        outcome = self._outcome
        if outcome is not None:
            outcome.cancel()
        self._calls.forget(self)
        return True

    def add_done_callback(self, fn: Callable[[Future[Any]], Any]) -> None:
        super().add_done_callback(fn)
        if self._known == _PENDING:
            self.watch()

    def watch(self) -> None:
        """Has the callback thread come by when the outcome is there."""
        outcome = self._outcome
        with self._condition:
            if self._watched or outcome is None:
                return
            self._watched = True
        self._calls.watch(1)
        outcome.add_done(self._arrived)

    def _arrived(self, _: Any) -> None:
        try:
            self._take()
            with self._condition:
                if self._known == _FINISHED:
                    for waiter in self._waiters:
                        (waiter.add_result if self._exception is None else waiter.add_exception)(self)
                    self._condition.notify_all()
            if self._known == _FINISHED:
                self._invoke_callbacks()  # type: ignore[attr-defined]
        finally:
            self._calls.watch(-1)

    def _wait(self, timeout: float | None) -> None:
        outcome = self._outcome
        if self._known == _PENDING and outcome is not None:
            if not outcome.wait(None if timeout is None else max(0.0, timeout)):
                raise TimeoutError()
            self._take()

    def _take(self) -> None:
        """What the outcome is, now that it is there."""
        with self._condition:
            outcome = self._outcome
            if self._known != _PENDING or outcome is None:
                return
            try:
                parts = outcome.parts()
                if parts is None:
                    self._exception = self._calls.exception(outcome.failure(), self._name)
                else:
                    self._result = _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:])
            except Exception as error:  # it cannot be unpickled here
                self._exception = error
            self._known = _FINISHED
            self._outcome = None
        self._calls.forget(self)

    def fail(self, error: BaseException) -> Future[Any]:
        """It could not be submitted."""
        self._exception = error
        self._known = _FINISHED
        return self


class _Calls:
    """What an executor and its futures share."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self.pool = pool
        self.workers = workers
        self.owner = os.getpid()
        self.pending: dict[_Future, None] = {}  # in the order of submission; some of them are done, and nobody looked
        self.sweep_at = SWEEP
        self.submitted = 0
        self.watching = 0  # futures for which the callback thread is to come by
        self.changed = threading.Condition()
        self.shut_down = False
        self.left = False  # the executor is gone, and nobody else will say when the last call is done
        self.broken = ""
        _all_calls.add(self)

    def check(self) -> None:
        if self.broken:
            raise BrokenProcessPool(self.broken)
        if self.shut_down:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def submit(self, function: Any, kind: bytes, content: Any) -> Future[Any]:
        if self.broken or self.shut_down or _exiting:
            self.check()
        pool = self.pool
        try:
            entry = pool._encoder.entry(function)
            parts = pool._encoder.payload(entry, kind, content)
        except Exception as error:
            return _Future(self, repr(function)).fail(error)
        future = _Future(self, entry.name)
        try:
            future._outcome = pool._muster.submit(entry.definition, parts)
        except _muster.Error as error:
            return future.fail(pool._translate(error))
        self.pending[future] = None
        self.submitted += 1
        if self.submitted >= self.sweep_at:
            self.sweep()
        return future

    def sweep(self) -> None:
        """Forgets those that are done."""
        for future in list(self.pending):
            if future.done():
                self.forget(future)
        self.sweep_at = self.submitted + max(SWEEP, len(self.pending))

    def forget(self, future: _Future) -> None:
        self.pending.pop(future, None)

    def is_running(self, future: _Future) -> bool:
        """Nobody tells a client which calls have started. They start in their order: so the oldest that are not done
        count as running, as many as there are workers."""
        while True:
            left = self.workers
            try:
                for other in self.pending:
                    if left == 0 or other is future:
                        return left > 0
                    left -= not other.done()
                return False
            except RuntimeError:  # another thread has submitted something, or forgotten it
                continue

    def exception(self, failure: Any, name: str) -> Any:
        if failure.status == errors.EWORKERS:
            self.broken = f"the workers of this executor cannot be started: {failure.message}"
            return BrokenProcessPool(self.broken)
        if failure.status == errors.ECLOSED:
            return BrokenProcessPool(f"{name} has no result: its workers were ended")
        error = errors.from_task(failure, name)
        if isinstance(error, WorkerLostError):
            lost = LostWorker(str(error), error.status)
            lost.__dict__.update(error.__dict__)
            return lost
        if failure.traceback:
            from concurrent.futures import process

            trace: Any = process._RemoteTraceback
            error.__cause__ = trace(f'\n"""\n{failure.traceback}"""')
        return error

    def watch(self, change: int) -> None:
        with self.changed:
            self.watching += change
            if self.watching == 0:
                self.changed.notify_all()
                if self.left:
                    _all_calls.discard(self)

    def close(self) -> None:
        """No more calls; those that were made go on."""
        self.shut_down = True
        if self.owner == os.getpid():
            self.pool.close()

    def leave(self) -> None:
        """The executor is gone: we stay until the last call is done."""
        self.close()
        if self.owner != os.getpid():
            return
        self.watch(1)
        self.left = True
        for future in list(self.pending):
            future.watch()
        self.watch(-1)

    def cancel_waiting(self) -> None:
        self.sweep()
        for future in list(self.pending):
            future.cancel()

    def join(self) -> None:
        if self.owner != os.getpid():
            return
        for future in list(self.pending):
            outcome = future._outcome
            if outcome is not None:
                outcome.wait(None)
        with self.changed:
            self.changed.wait_for(lambda: self.watching == 0)
        self.pool.join()
        _all_calls.discard(self)


class ProcessPoolExecutor(Executor):
    """concurrent.futures.ProcessPoolExecutor, on a muster.Pool.

    max_workers, initializer, initargs, max_tasks_per_child: as there. mp_context names the workers, no more: they are
    forked from a clean parent, whatever it is. `url` and the other keyword arguments are those of muster.Pool.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        *,
        max_tasks_per_child: int | None = None,
        **more: Any,
    ) -> None:
        if max_workers is not None and max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if max_tasks_per_child is not None:
            if not isinstance(max_tasks_per_child, int):
                raise TypeError("max_tasks_per_child must be an integer")
            if max_tasks_per_child <= 0:
                raise ValueError("max_tasks_per_child must be >= 1")
        pool = Pool(max_workers, initializer, initargs, max_tasks_per_child, mp_context, **more)
        self._mp_context = mp_context if mp_context is not None else multiprocessing.get_context()
        self._max_workers = pool._width()
        self._calls = _Calls(pool, self._max_workers)
        self._gone = weakref.finalize(self, self._calls.leave)
        self._gone.atexit = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Schedules fn(*args, **kwargs), and returns its future."""
        return self._calls.submit(fn, _CALL, (args, kwargs))

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """The results of fn for the items of the iterables, in their order.

        timeout: seconds from now until the last result must be there. chunksize: items that go to a worker in one call.
        buffersize: calls that may be ahead of the results that were taken; without it all items are read at once.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        calls = self._calls
        calls.check()
        chunks = _chunks(zip(*iterables), chunksize)
        futures = deque(
            calls.submit(fn, _ARGUMENTS, chunk)
            for chunk in (chunks if buffersize is None else itertools.islice(chunks, buffersize))
        )
        return _results(calls, fn, futures, chunks, end)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """No more calls. wait: until all are done and the workers have ended. cancel_futures: take back those that have
        not started."""
        self._calls.close()
        if cancel_futures:
            self._calls.cancel_waiting()
        if wait:
            self._calls.join()

    @property
    def _processes(self) -> dict[int, Any]:
        """The workers on this host by their pids: for programs that look at what an executor keeps to itself."""
        return {worker.pid: worker for worker in self._calls.pool._pool}

    def kill_workers(self) -> None:
        """Ends the workers at once; calls without a result raise BrokenProcessPool."""
        self._calls.shut_down = True
        self._calls.pool.terminate()
        self._calls.join()

    terminate_workers = kill_workers


def _chunks(items: Iterator[Any], size: int) -> Iterator[tuple[Any, ...]]:
    while chunk := tuple(itertools.islice(items, size)):
        yield chunk


def _results(
    calls: _Calls, function: Any, futures: deque[Future[Any]], chunks: Iterator[Any], end: float | None
) -> Iterator[Any]:
    try:
        while futures:
            chunk = next(chunks, None)
            if chunk is not None:
                futures.append(calls.submit(function, _ARGUMENTS, chunk))
            values = futures[0].result(None if end is None else end - time.monotonic())
            del futures[0]
            values.reverse()
            while values:
                yield values.pop()  # and keep no reference to it
    finally:
        for future in futures:
            future.cancel()


def _at_exit() -> None:
    """The interpreter ends: what was submitted is done first, as with concurrent.futures."""
    global _exiting
    _exiting = True
    for calls in list(_all_calls):
        if calls.owner == os.getpid():
            calls.close()
    for calls in list(_all_calls):
        calls.join()


# Before Python waits for threads and before atexit, where pools are terminated.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]
