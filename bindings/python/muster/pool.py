"""Pool: multiprocessing's, on libmuster.

No thread of Python's stands between a caller and libmuster: submitting is a call to C, and whoever asks for a result
waits in C and unpickles it himself. The one exception is `imap` of an iterator whose next item may take its time; it is
read by a thread of its own, as multiprocessing does it for every iterable.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import json
import os
import pickle
import queue
import select
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from muster import _muster, errors, forkserver, output, preparation, reduction, tasks
from muster.errors import Error, TaskError, WorkerLostError
from muster.iteration import SOLID, Feed, IMapIterator, chunks_of
from muster.results import AsyncResult, MapResult, NamedResult

__all__ = ["AsyncResult", "Error", "IMapIterator", "MapResult", "Pool", "TaskError", "WorkerLostError"]

INIT, RUN, CLOSE, TERMINATE = "INIT", "RUN", "CLOSE", "TERMINATE"

CHUNKS_PER_WORKER, CHUNKS_LEAST = 4, 64  # of a map: many, so that the results of one do not exceed a payload's limit
CHUNK_BYTES = 4 << 20  # of arguments, beyond which the automatic choice does not go
BATCH_CALLS, BATCH_BYTES = 4096, 4 << 20  # handed to C at a time
PRIORITY_MAX = 1000
EXIT_SECONDS = 10.0  # that the interpreter's end waits for a pool

_CALL, _ITEMS, _ARGUMENTS = (bytes((kind,)) for kind in (reduction.CALL, reduction.ITEMS, reduction.ARGUMENTS))
_NOTHING: dict[str, Any] = {}

_open_pools: weakref.WeakSet[Pool] = weakref.WeakSet()

# Processes that have opened a pool: this one, and those that it was forked from.
_opened: list[int] = []

ApplyResult = AsyncResult
IMapUnorderedIterator = IMapIterator


def __getattr__(name: str) -> Any:
    if name in ("ThreadPool", "RemoteTraceback", "MaybeEncodingError"):
        return getattr(importlib.import_module("multiprocessing.pool"), name)
    raise AttributeError(f"module 'muster.pool' has no attribute {name!r}")


class _WorkerHandle:
    """A worker process of a local pool, as much of it as multiprocessing's users look at."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def is_alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    @property
    def exitcode(self) -> int | None:
        return None if self.is_alive() else 0

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Waits for its end, of which the pool takes notice itself."""
        with contextlib.suppress(ProcessLookupError):
            file = os.pidfd_open(self.pid)
            try:
                select.select([file], [], [], timeout)
            finally:
                os.close(file)


class Pool:
    """Worker processes that run calls: multiprocessing.Pool, and what it lacks.

    processes, initializer, initargs, maxtasksperchild, context: as there.
    url: the workers of a musterd ("tcp://host:port", "ipc:///path") instead of processes of this pool.
    authkey_file: the key for it; default: the environment's MUSTER_AUTHKEY_FILE or MUSTER_AUTHKEY.
    forward: what the workers print and log appears here, through sys.stdout, sys.stderr and logging. Otherwise workers
        of a local pool write to the same stdout and stderr as this process.
    memory_limit: bytes of address space of each local worker.
    payload_limit: bytes that the arguments or the result of a call of a local pool may have; default 4 GiB less one.
    labels: "name=value" of the local workers.
    connect_timeout: seconds to wait for a coordinator; default 10.
    window: calls without an outcome before submitting waits; default: what the coordinator allows.
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] = (),
        maxtasksperchild: int | None = None,
        context: Any = None,
        *,
        url: str | None = None,
        authkey_file: str | None = None,
        forward: bool = False,
        memory_limit: int = 0,
        payload_limit: int = 0,
        labels: Sequence[str] = (),
        connect_timeout: float = 0,
        window: int = 0,
    ) -> None:
        self._state = INIT
        self._muster: Any = None
        self._owner = os.getpid()
        _refuse_to_open()
        local = url is None or url.startswith("local:")
        if processes is None and url and local and url[6:]:
            processes = int(url[6:]) if url[6:].isdigit() else 0
        if processes is None:
            processes = _muster.cpus() if local else 0
        elif processes < 1:
            raise ValueError("Number of processes must be at least 1")
        if maxtasksperchild is not None and (not isinstance(maxtasksperchild, int) or maxtasksperchild <= 0):
            raise ValueError("maxtasksperchild must be a positive int or None")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        if not local and maxtasksperchild is not None:
            raise ValueError("maxtasksperchild is for local pools: the workers of a musterd have --max-tasks")
        self._ctx = context
        self._processes = processes
        self._lock = threading.RLock()  # a finalizer may come at any moment
        self._feeds: set[Feed] = set()
        self._options_made: dict[Any, Any] = {}
        self._terms: dict[Any, Any] = {}  # of those options
        self._names: dict[str, Any] = {}
        self._forward = forward
        told = preparation.tell(context, forward, not local, initializer, initargs)
        self._initargs = preparation.spill(told) if local else None
        client = os.urandom(8)
        more: dict[str, Any] = {"window": window, "connect_timeout": connect_timeout}
        if forward:
            more["on_log"] = output.show_log
        if authkey_file is not None:
            more["authkey_file"] = os.fspath(authkey_file)
        if local:
            url = f"local:{processes}"
            named = {
                name: ":".join(found)
                for name, function in tasks.registry.items()
                if (found := reduction.reference(function))
            }
            more.update(
                fork_server=forkserver.command(named=named),
                initializer="python",
                initializer_payload=preparation.initializer_payload(client, told),
                max_tasks=maxtasksperchild or 0,
                labels=[reduction.PYTHON_LABEL, *labels],
                memory_limit=memory_limit,
                payload_limit=payload_limit,
                raw_output=not forward,
            )
            if forward:
                more["on_output"] = output.show_output
        try:
            if not _opened:
                _opened.append(self._owner)
            self._muster = _muster.Pool(url or "local:", **more)
        except _muster.Error as error:
            raise errors.translate(error) from None
        preamble = b"" if local else pickle.dumps(told, 4)
        self._encoder = reduction.Encoder(self._define, client, preamble, told["main"] is None)
        self._state = RUN
        _open_pools.add(self)

    def __repr__(self) -> str:
        kind = type(self)
        return f"<{kind.__module__}.{kind.__qualname__} state={self._state} pool_size={self._processes}>"

    def __reduce__(self) -> Any:
        raise NotImplementedError("pool objects cannot be passed between processes or pickled")

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *unused: Any) -> None:
        self.terminate()

    def __del__(self, _warn: Any = warnings.warn, _run: str = RUN, _pid: Any = os.getpid) -> None:
        if self._state == _run and self._owner == _pid():
            _warn(f"unclosed running multiprocessing pool {self!r}", ResourceWarning, source=self)
            self._state = TERMINATE
            with contextlib.suppress(Exception):
                self._muster.terminate()

    # -- calls

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] = (), kwds: Mapping[str, Any] = _NOTHING, **more: Any
    ) -> Any:
        """Equivalent of `func(*args, **kwds)`, in a worker. Takes timeout, retries, priority and labels too."""
        return self.apply_async(func, args, kwds, **more).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] = (),
        kwds: Mapping[str, Any] = _NOTHING,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        priority: int = 0,
        labels: Sequence[str] = (),
    ) -> AsyncResult:
        """The call, without waiting for its result.

        timeout: seconds that it may run once it has started; it raises TimeoutError then.
        retries: run it again so often after a lost worker, an exception or a timeout.
        priority: -1000 to 1000; higher runs first.
        labels: run it only on workers that carry all of these.
        """
        if self._state != RUN:
            raise ValueError("Pool not running")
        entry = self._encoder.entry(func)
        options = None
        if timeout is not None or retries or priority or labels:
            options = self._options(timeout, retries, priority, labels)
        result = AsyncResult(self, entry.name, callback, error_callback)
        try:
            content = (args if type(args) is tuple else tuple(args), kwds if kwds else {})
            parts = self._encoder.payload(entry, _CALL, content)
            if type(parts) is reduction.ByValue:
                options = self._bound(options)
        except Exception as error:
            result._fail(error)
            return result
        try:
            on_done = None if result._called is None else result._done
            result._result = self._muster.submit(entry.definition, parts, options, on_done)
        except _muster.Error as error:
            self._submit_failed(error, result)
        return result

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None, **more: Any
    ) -> list[Any]:
        """Applies `func` to each item and gives the list of results. Takes what map_async takes."""
        values: list[Any] = self._map_async(func, iterable, _ITEMS, chunksize, **more).get()
        return values

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        **more: Any,
    ) -> MapResult:
        """map without waiting. Takes timeout (for each chunk), retries, priority, labels and progress too."""
        return self._map_async(func, iterable, _ITEMS, chunksize, callback, error_callback, **more)

    def starmap(
        self, func: Callable[..., Any], iterable: Iterable[Iterable[Any]], chunksize: int | None = None, **more: Any
    ) -> list[Any]:
        """Like map, but each item is an iterable of arguments."""
        values: list[Any] = self._map_async(func, iterable, _ARGUMENTS, chunksize, **more).get()
        return values

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Iterable[Any]],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        **more: Any,
    ) -> MapResult:
        """starmap without waiting."""
        return self._map_async(func, iterable, _ARGUMENTS, chunksize, callback, error_callback, **more)

    def imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: bool = False,
        **more: Any,
    ) -> IMapIterator:
        """The results one after the other, in order.

        The iterable is read lazily: at most `buffersize` items ahead of what the iterator has delivered. By default
        these are 256 at first, more (up to 16,384) while results are taken quickly, fewer if items or results are large
        (64 MiB in all), and always at least two chunks a worker. Lists and other containers are read in the caller's
        thread, any other iterable in a thread of its own. An iterator that is given up lets the calls go on, as in
        multiprocessing, unless a buffersize was given: then it cancels them.
        """
        return self._imap(func, iterable, chunksize, buffersize, progress, True, more)

    def imap_unordered(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int = 1,
        *,
        buffersize: int | None = None,
        progress: bool = False,
        **more: Any,
    ) -> IMapIterator:
        """Like imap, the results as they come."""
        return self._imap(func, iterable, chunksize, buffersize, progress, False, more)

    def aimap(self, func: Callable[[Any], Any], iterable: Any, chunksize: int = 1, **more: Any) -> Any:
        """imap for `async for`; the iterable may be an asynchronous one."""
        return importlib.import_module("muster.aio").aimap(self, func, iterable, chunksize, **more)

    def call(self, name: str, *args: Any, **more: Any) -> Any:
        """Calls a function by the name under which workers of any language offer it. Arguments and result are plain
        values. Takes timeout, retries, priority and labels too."""
        return self.call_async(name, *args, **more).get()

    def call_async(
        self,
        name: str,
        *args: Any,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        timeout: float | None = None,
        retries: int = 0,
        priority: int = 0,
        labels: Sequence[str] = (),
    ) -> AsyncResult:
        """call without waiting."""
        self._check_running()
        payload = tasks.pack_arguments(args)
        options = self._options(timeout, retries, priority, labels)
        result = NamedResult(self, name, callback, error_callback)
        try:
            definition = self._names.get(name)
            if definition is None:
                definition = self._names[name] = self._muster.define(name)
            on_done = None if result._called is None else result._done
            result._result = self._muster.submit_raw(definition, payload, options, on_done)
        except _muster.Error as error:
            self._submit_failed(error, result)
        return result

    # -- the end

    def close(self) -> None:
        """No more calls; those that were made go on, and so do iterators."""
        with self._lock:
            if self._state != RUN:
                return
            self._state = CLOSE
            if self._feeds:
                return
        self._close_now()

    def terminate(self) -> None:
        """Ends the workers at once, whatever they do. Who waits for a result gets CancelledError."""
        self._state = TERMINATE
        if self._muster is None or self._owner != os.getpid():  # a fork leaves its `with`: the pool is not its own
            return
        for feed in list(self._feeds):
            feed.stop()
        self._muster.terminate()

    def join(self) -> None:
        """Waits for the end of a pool that was closed or terminated."""
        if self._state == RUN:
            raise ValueError("Pool is still running")
        if self._state not in (CLOSE, TERMINATE):
            raise ValueError("In unknown state")
        if self._owner != os.getpid():
            return
        for feed in list(self._feeds):
            feed.finish()
        if self._state == CLOSE:
            for feed in list(self._feeds):
                feed.wait()
        try:
            self._muster.join(None)
        except _muster.Error as error:
            raise errors.translate(error) from None

    # -- questions

    @property
    def _pool(self) -> list[_WorkerHandle]:
        """The worker processes, once all of them are there."""
        end = time.monotonic() + EXIT_SECONDS
        while True:
            pids = [worker["pid"] for worker in self.status(EXIT_SECONDS)["workers"] if worker["state"] != "dead"]
            if len(pids) >= self._processes or time.monotonic() > end:
                return [_WorkerHandle(pid) for pid in pids[: self._processes]]
            time.sleep(0.001)

    def _repopulate_pool(self) -> None:
        """For those who know multiprocessing's insides: workers are replaced without being asked."""

    def workers(self) -> int:
        """Workers that are connected now, of any host."""
        return int(self._muster.workers())

    def stats(self) -> dict[str, int]:
        """What became of this pool's calls: counters."""
        return dict(self._muster.stats())

    def status(self, timeout: float | None = None) -> dict[str, Any]:
        """What the coordinator knows (docs/status.md)."""
        try:
            known: dict[str, Any] = json.loads(self._muster.status(timeout))
        except _muster.Error as error:
            raise errors.translate(error) from None
        return known

    # -- inside

    def _check_running(self) -> None:
        if self._state != RUN:
            raise ValueError("Pool not running")

    def _translate(self, error: _muster.Error) -> Exception:
        if self._owner != os.getpid():
            return RuntimeError(
                f"this pool belongs to process {self._owner}: a process that was forked from it cannot use it. Start "
                "such processes by the method `spawn` or `forkserver`, and open their pools there"
            )
        return errors.translate(error)

    def _submit_failed(self, error: _muster.Error, result: AsyncResult) -> None:
        """What concerns this call alone is its outcome; what concerns the pool is raised here."""
        status = error.args[0]
        translated = self._translate(error)
        if status in (errors.ECLOSED, errors.EINVAL) and (self._state != RUN or self._owner != os.getpid()):
            raise translated from None
        result._fail(translated)

    def _define(self, body: bytes, labels: tuple[str, ...]) -> Any:
        try:
            return self._muster.define("python", body, labels)
        except _muster.Error as error:
            raise self._translate(error) from None

    def _options(self, timeout: float | None, retries: int, priority: int, labels: Sequence[str]) -> Any:
        if timeout is None and not retries and not priority and not labels:
            return None
        key = timeout, retries, priority, tuple(labels)
        options = self._options_made.get(key)
        if options is None:
            if timeout is not None and not timeout > 0:
                raise ValueError(f"timeout must be more than 0 s, not {timeout}")
            if retries < 0:
                raise ValueError(f"retries must not be negative, as {retries} is")
            if not -PRIORITY_MAX <= priority <= PRIORITY_MAX:
                raise ValueError(f"priority must be from {-PRIORITY_MAX} to {PRIORITY_MAX}, not {priority}")
            try:
                options = _muster.Options(
                    time_limit=timeout or 0, retries=retries, priority=priority, labels=list(key[3])
                )
            except _muster.Error as error:
                raise errors.translate(error) from None
            if len(self._options_made) < 1024:
                self._options_made[key] = options
                self._terms[options] = key
        return options

    def _bound(self, options: Any) -> Any:
        """The same, for workers of our Python version."""
        timeout, retries, priority, labels = self._terms.get(options, (None, 0, 0, ()))
        if reduction.PYTHON_LABEL in labels:
            return options
        return self._options(timeout, retries, priority, (*labels, reduction.PYTHON_LABEL))

    def _width(self) -> int:
        return self._processes or max(1, int(self._muster.workers()))

    def _map_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Any],
        kind: bytes,
        chunksize: int | None = None,
        callback: Any = None,
        error_callback: Any = None,
        *,
        timeout: float | None = None,
        retries: int = 0,
        priority: int = 0,
        labels: Sequence[str] = (),
        progress: bool = False,
    ) -> MapResult:
        self._check_running()
        items = iterable if type(iterable) is list else list(iterable)
        if chunksize is not None and chunksize < 1 and items:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        entry = self._encoder.entry(func)
        options = self._options(timeout, retries, priority, labels)
        result = MapResult(self, entry.name, callback, error_callback)
        if not items:
            result._outcome = True, []
            if result._called is not None:  # as in multiprocessing, nobody is called for nothing
                result._called.set()
            return result
        automatic = chunksize is None
        if chunksize is None:
            chunksize = -(-len(items) // max(self._width() * CHUNKS_PER_WORKER, CHUNKS_LEAST))
        bar = output.progress_bar(len(items), name=entry.name) if progress else None
        try:
            self._submit_chunks(result, entry, kind, items, chunksize, automatic, options, bar)
        except _muster.Error as error:
            result.cancel()
            self._submit_failed(error, result)
        except Exception as error:
            result.cancel()
            result._fail(error)
        return result

    def _submit_chunks(
        self,
        result: MapResult,
        entry: reduction.Entry,
        kind: bytes,
        items: list[Any],
        size: int,
        automatic: bool,
        options: Any,
        bar: Any,
    ) -> None:
        """Everything is pickled before anything is submitted, as far as it fits into one batch."""
        payload, on_done = self._encoder.payload, None
        result._left = 1  # this function: no callback before it has ended
        if result._called is not None:
            on_done = result._part_done
        calls: list[Any] = []
        waiting = first = 0
        while first < len(items):
            chunk = (
                items[first : first + size] if kind == _ITEMS else [tuple(item) for item in items[first : first + size]]
            )
            parts = payload(entry, kind, chunk)
            if type(parts) is reduction.ByValue:
                options = self._bound(options)
            nbytes = len(parts[1])
            if len(parts) > 2:
                nbytes += sum(part.nbytes for part in parts[2:])
            if automatic and nbytes > CHUNK_BYTES and size > 1:
                size = max(1, size * CHUNK_BYTES // nbytes)
                continue
            first += size
            calls.append(parts)
            waiting += nbytes
            if bar is not None or len(calls) >= BATCH_CALLS or waiting >= BATCH_BYTES:
                self._submit_batch(result, entry, calls, options, on_done, bar, len(chunk))
                calls, waiting = [], 0
        if calls:
            self._submit_batch(result, entry, calls, options, on_done, None, 0)
        if on_done is not None:
            result._part_done(None)

    def _submit_batch(
        self,
        result: MapResult,
        entry: reduction.Entry,
        calls: list[Any],
        options: Any,
        on_done: Any,
        bar: Any,
        count: int,
    ) -> None:
        with result._lock:
            result._left += 1
        if bar is not None:
            on_done = output.progressing(bar, count, on_done)
        result._results.append(self._muster.submit_many(entry.definition, calls, options, on_done))

    def _imap(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int,
        buffersize: int | None,
        progress: bool,
        ordered: bool,
        more: dict[str, Any],
    ) -> IMapIterator:
        self._check_running()
        if chunksize < 1:
            raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
        if buffersize is not None and (not isinstance(buffersize, int) or buffersize < 1):
            raise ValueError(f"buffersize must be a positive int or None, not {buffersize!r}")
        entry = self._encoder.entry(func)
        options = self._options(
            more.pop("timeout", None), more.pop("retries", 0), more.pop("priority", 0), more.pop("labels", ())
        )
        if more:
            raise TypeError(f"imap() got an unexpected keyword argument {next(iter(more))!r}")
        window = 2 * self._width() if buffersize is None else -(-buffersize // chunksize)
        feed = Feed(self, entry, chunks_of(iterable, chunksize), options, window)
        feed.bounded = buffersize is not None
        if not feed.bounded:
            feed.free(chunksize)
        if not ordered:
            feed.finished = queue.SimpleQueue()
        bar = output.progress_bar(getattr(iterable, "__len__", lambda: None)(), entry.name) if progress else None
        iterator = IMapIterator(feed, bar)
        with self._lock:
            self._feeds.add(feed)
        if type(iterable) in SOLID:
            feed.fill()
        else:
            feed.start()
        return iterator

    def _feed_ended(self, feed: Feed) -> None:
        with self._lock:
            self._feeds.discard(feed)
            close = self._state == CLOSE and not self._feeds
        if close:
            self._close_now()

    def _close_now(self) -> None:
        if self._owner == os.getpid():
            self._muster.close()

    def _exit(self) -> None:
        """The interpreter ends."""
        if self._owner != os.getpid():
            return
        self._state = TERMINATE
        for feed in list(self._feeds):
            feed.stop()
        with contextlib.suppress(Exception):
            self._muster.terminate()
            self._muster.join(EXIT_SECONDS)
            self._muster.free()


def _refuse_to_open() -> None:
    worker = sys.modules.get("muster.worker")
    if worker is not None:
        worker.refuse_while_loading()
    if _opened and _opened[0] != os.getpid():
        raise RuntimeError(
            f"this process was forked from process {_opened[0]}, which had opened a pool: it cannot open one. Start "
            "such processes by the method `spawn` or `forkserver`"
        )


@atexit.register
def _exit_all() -> None:
    for pool in list(_open_pools):
        pool._exit()
