"""A backend for joblib. Importing this module registers it:

    import muster.joblib

    with joblib.parallel_config(backend="muster"):
        joblib.Parallel(n_jobs=2)(joblib.delayed(function)(i) for i in range(100))

joblib has no list of other packages' backends to look through, so the import is necessary. Options of muster.Pool go to
parallel_config: `parallel_config(backend="muster", url="tcp://host:port")`.

The workers stay for the next Parallel that wants the same ones. NumPy arrays travel through shared memory, one copy
each way, so joblib's options for memory maps (max_nbytes, mmap_mode, temp_folder) decide nothing here.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import joblib
from joblib._parallel_backends import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend
from joblib.parallel import ThreadingBackend, parallel_config, register_parallel_backend

from muster.pool import RUN, Pool
from muster.results import AsyncResult

POOLS_MAX = 4  # that are kept open for a Parallel to come

_pools: dict[Any, Pool] = {}
_lock = threading.Lock()
_nested: dict[int, Any] = {}


def _prepare(environment: dict[str, str]) -> None:
    os.environ.update(environment)


def _run(level: int, calls: list[tuple[Any, Any, Any]]) -> list[Any]:
    """A batch, in a worker. What is parallel in it runs in threads, and what is parallel in that not at all."""
    nested = _nested.get(level)
    if nested is None:
        kind = ThreadingBackend if level < 2 else SequentialBackend
        nested = _nested[level] = kind(nesting_level=level)
    with parallel_config(backend=nested, n_jobs=None):
        return [function(*arguments, **keywords) for function, arguments, keywords in calls]


def _open(workers: int, environment: dict[str, str], options: dict[str, Any]) -> Pool:
    """A pool of so many workers; one that is open already, if it is the same."""
    key = workers, tuple(sorted(environment.items())), tuple(sorted((name, repr(it)) for name, it in options.items()))
    with _lock:
        pool = _pools.pop(key, None)
        if pool is None or pool._state != RUN or pool._owner != os.getpid():
            processes = None if "url" in options else workers
            pool = Pool(processes, _prepare, (environment,), **options)
        _pools[key] = pool  # now the last to be closed
        while len(_pools) > POOLS_MAX:
            _pools.pop(next(iter(_pools))).close()
    return pool


class MusterBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    """Runs the batches of joblib.Parallel in the workers of a muster.Pool."""

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True

    def __init__(self, nesting_level: int | None = None, inner_max_num_threads: int | None = None, **options: Any):
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads)
        self._options = options
        self._pool: Pool | None = None
        self._level = 1
        self._unfinished: set[AsyncResult] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        if "url" in self._options:
            present = _open(0, self._prepare_worker_env(1), self._options).workers()
            return max(present + 1 + n_jobs, 1)
        present = int(joblib.cpu_count())
        return max(present + 1 + n_jobs, 1)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None, **unused: Any
    ) -> int:
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        workers = 0 if "url" in self._options else n_jobs
        self._pool = _open(workers, self._prepare_worker_env(n_jobs if workers else 1), self._options)
        self._level = (self.nesting_level or 0) + 1
        self.parallel = parallel
        return n_jobs

    def submit(self, func: Any, callback: Callable[[Any], Any] | None = None) -> AsyncResult:
        """Schedules a batch; joblib's BatchedCalls, of which only the calls travel."""
        assert self._pool is not None
        result = self._pool.apply_async(_run, (self._level, func.items))
        unfinished = self._unfinished
        unfinished.add(result)

        def done(result: AsyncResult) -> None:
            unfinished.discard(result)
            if callback is not None:
                callback(result)

        result.add_done_callback(done)
        return result

    apply_async = submit  # as joblib called it before 1.5

    def retrieve_result_callback(self, out: AsyncResult) -> Any:
        return out.get()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Takes back what has not started, and stops what runs. The workers stay."""
        for result in list(self._unfinished):
            result.cancel()
        self._unfinished.clear()
        if not ensure_ready:
            self._pool = None

    def terminate(self) -> None:
        """This Parallel has ended; the workers stay for the next one."""
        self._pool = None
        self.reset_batch_stats()


register_parallel_backend("muster", MusterBackend)
