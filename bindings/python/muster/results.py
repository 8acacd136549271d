"""What a pool gives for calls that it does not wait for: AsyncResult, and the same for many calls."""

from __future__ import annotations

import contextlib
import itertools
import pickle
import sys
import threading
import types
from collections.abc import Callable, Generator
from multiprocessing import TimeoutError
from typing import TYPE_CHECKING, Any

from muster import errors, tasks

if TYPE_CHECKING:
    from muster.pool import Pool

_loads = pickle.loads


def report(function: Any) -> None:
    """What a callback raises concerns nobody else; it is shown as what a finalizer raises."""
    kind, value, trace = sys.exc_info()
    sys.unraisablehook(
        types.SimpleNamespace(
            exc_type=kind,
            exc_value=value,
            exc_traceback=trace,
            err_msg="Exception ignored in a callback",
            object=function,
        )
    )


class AsyncResult:
    """The result of one call. What waits for it, waits in C."""

    __slots__ = ("_pool", "_result", "_name", "_outcome", "_callback", "_error_callback", "_called", "__weakref__")

    def __init__(
        self,
        pool: Pool,
        name: str,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> None:
        self._pool: Pool | None = pool  # which lives until the result is there
        self._result: Any = None
        self._name = name
        self._outcome: tuple[bool, Any] | None = None
        self._callback = callback
        self._error_callback = error_callback
        # Held until the callbacks have run: only then the result counts as ready, as in multiprocessing.
        self._called: threading.Event | None = threading.Event() if callback or error_callback else None

    def ready(self) -> bool:
        if self._called is not None:
            return self._called.is_set()
        result = self._result  # another thread may take the outcome just now: then there is none
        return self._outcome is not None or result is None or bool(result.ready())

    def successful(self) -> bool:
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._take()[0]

    def wait(self, timeout: float | None = None) -> None:
        self._wait(timeout)

    def _wait(self, timeout: float | None) -> bool:
        if self._called is not None:
            return self._called.wait(timeout)
        result = self._result
        return self._outcome is not None or result is None or bool(result.wait(timeout))

    def get(self, timeout: float | None = None) -> Any:
        outcome = self._outcome
        if outcome is None:
            if not self._wait(timeout):
                raise TimeoutError(f"{self._name} has no result after {timeout} s")
            outcome = self._take()
        if outcome[0]:
            return outcome[1]
        try:
            raise outcome[1]
        finally:
            del outcome, self  # or the traceback would refer to them

    def cancel(self) -> None:
        """Asks to cancel: at once if it has not started, by force if it runs. get() raises CancelledError then."""
        result = self._result
        if self._outcome is None and result is not None:
            result.cancel()

    def add_done_callback(self, function: Callable[[AsyncResult], Any]) -> None:
        """Calls function(self) once the result is ready, in the pool's callback thread, or here if it is ready now."""

        def call(_: Any) -> None:
            try:
                function(self)
            except Exception:
                report(function)

        result = self._result
        if self._outcome is not None or result is None:
            call(None)
        else:
            result.add_done(call)

    def __await__(self) -> Generator[Any, None, Any]:
        import asyncio

        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        def done(_: AsyncResult) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(wake)

        self.add_done_callback(done)
        try:
            yield from future
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self.get()

    __class_getitem__: Any = classmethod(types.GenericAlias)

    # -- for the pool

    def _take(self) -> tuple[bool, Any]:
        """The outcome of a result that is ready."""
        result = self._result
        outcome = self._outcome
        if outcome is None:
            try:
                outcome = self._decode(result)
            except Exception as error:  # a value that cannot be unpickled here
                outcome = False, error
            self._outcome = outcome
            self._result = self._pool = None
        return outcome

    def _decode(self, result: Any) -> tuple[bool, Any]:
        parts = result.parts()
        if parts is None:
            return False, errors.from_task(result.failure(), self._name)
        return True, _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:])

    def _done(self, result: Any) -> None:
        """The outcome is there, and somebody wants to be called: in the pool's callback thread."""
        if self._result is None:
            self._result = result  # it was there before submitting had ended
        success, value = self._take()
        function = self._callback if success else self._error_callback
        self._callback = self._error_callback = None
        try:
            if function is not None:
                function(value)
        except Exception:
            report(function)
        finally:
            if self._called is not None:
                self._called.set()

    def _fail(self, error: BaseException) -> None:
        """It could not be submitted: the error is its outcome."""
        self._outcome = False, error
        self._pool = None
        self._done(None)


class NamedResult(AsyncResult):
    """The result of a function that is called by its name: a plain value."""

    __slots__ = ()

    def _decode(self, result: Any) -> tuple[bool, Any]:
        raw = result.raw()
        if raw is None:
            return False, errors.from_task(result.failure(), self._name)
        return True, tasks.unpack(raw)


class MapResult(AsyncResult):
    """The results of many calls, in their order: a list, or the first error."""

    __slots__ = ("_results", "_left", "_lock")

    def __init__(self, pool: Pool, name: str, callback: Any = None, error_callback: Any = None) -> None:
        super().__init__(pool, name, callback, error_callback)
        self._results: list[Any] = []  # of the extension, each of many chunks
        self._left = 0
        self._lock = threading.Lock()

    def ready(self) -> bool:
        if self._called is not None:
            return self._called.is_set()
        return self._outcome is not None or all(result.ready() for result in self._results)

    def _wait(self, timeout: float | None) -> bool:
        if self._called is not None:
            return self._called.wait(timeout)
        if self._outcome is not None:
            return True
        if timeout is None:
            return all(result.wait(None) for result in self._results)
        import time

        end = time.monotonic() + timeout
        return all(result.wait(max(0.0, end - time.monotonic())) for result in self._results)

    def cancel(self) -> None:
        for result in self._results:
            result.cancel()

    def add_done_callback(self, function: Callable[[AsyncResult], Any]) -> None:
        results = list(self._results)
        left = itertools.count(len(results) - 1, -1)

        def one(_: Any) -> None:
            if next(left) <= 0:
                try:
                    function(self)
                except Exception:
                    report(function)

        if self._outcome is not None or not results:
            one(None)
        else:
            for result in results:
                result.add_done(one)

    def _take(self) -> tuple[bool, Any]:
        results = self._results
        outcome = self._outcome
        if outcome is None:
            try:
                outcome = self._decode_all(results)
            except Exception as error:
                outcome = False, error
            self._outcome = outcome
            self._results = []
            self._pool = None
        return outcome

    def _decode_all(self, results: list[Any]) -> tuple[bool, Any]:
        values: list[Any] = []
        for result in results:
            failure = result.failure()
            if failure is not None:
                return False, errors.from_task(failure, self._name)
        for result in results:
            of = result.parts
            for index in range(len(result)):
                parts = of(index)
                values += _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:])
        return True, values

    def _part_done(self, _: Any) -> None:
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._done(None)
