"""The backend for joblib."""

from __future__ import annotations

import multiprocessing
import os
import time
import unittest
from typing import Any

import joblib
import numpy as np
from joblib import Parallel, delayed, parallel_config

import muster.joblib  # noqa: F401  (registers the backend)


def square(x: Any) -> Any:
    return x * x


def fail(x: Any) -> None:
    raise ValueError(x)


def nested(count: int) -> tuple[list[int], str]:
    backend, _ = joblib.parallel.get_active_backend()
    return Parallel(n_jobs=2)(delayed(square)(i) for i in range(count)), type(backend).__name__


def threads(_: int) -> Any:
    return os.environ.get("OMP_NUM_THREADS")


def pid(_: int) -> int:
    return os.getpid()


class Backend(unittest.TestCase):
    def setUp(self) -> None:
        config = parallel_config(backend="muster", n_jobs=2)
        config.__enter__()
        self.addCleanup(config.__exit__, None, None, None)

    def test_results_in_their_order(self) -> None:
        self.assertEqual(Parallel()(delayed(square)(i) for i in range(500)), [i * i for i in range(500)])
        self.assertEqual(Parallel(batch_size=7)(delayed(square)(i) for i in range(50)), [i * i for i in range(50)])
        self.assertEqual(list(Parallel(return_as="generator")(delayed(square)(i) for i in range(5))), [0, 1, 4, 9, 16])

    def test_other_processes_run_them_and_stay(self) -> None:
        first = set(Parallel()(delayed(pid)(i) for i in range(20)))
        self.assertNotIn(os.getpid(), first)
        self.assertTrue(set(Parallel()(delayed(pid)(i) for i in range(20))) & first)

    def test_functions_without_a_name(self) -> None:
        step = 3
        self.assertEqual(Parallel()(delayed(lambda x: x + step)(i) for i in range(4)), [3, 4, 5, 6])

    def test_arrays(self) -> None:
        array = np.arange(1 << 18, dtype=np.float64)
        for result in Parallel()(delayed(square)(array) for _ in range(3)):
            np.testing.assert_array_equal(result, array * array)

    def test_exceptions(self) -> None:
        with self.assertRaises(ValueError):
            Parallel()(delayed(fail)(i) for i in range(100))
        self.assertEqual(Parallel()(delayed(square)(i) for i in range(3)), [0, 1, 4])

    def test_a_time_limit(self) -> None:
        with self.assertRaises((TimeoutError, multiprocessing.TimeoutError)):
            Parallel(timeout=0.1)(delayed(time.sleep)(30) for _ in range(2))
        self.assertEqual(Parallel()(delayed(square)(i) for i in range(3)), [0, 1, 4])

    def test_what_is_parallel_in_a_task_runs_in_threads(self) -> None:
        for values, backend in Parallel()(delayed(nested)(4) for _ in range(3)):
            self.assertEqual((values, backend), ([0, 1, 4, 9], "ThreadingBackend"))

    def test_threads_of_libraries_in_the_workers(self) -> None:
        with parallel_config(backend="muster", n_jobs=2, inner_max_num_threads=3):
            self.assertEqual(set(Parallel()(delayed(threads)(i) for i in range(4))), {"3"})

    def test_how_many_jobs(self) -> None:
        self.assertEqual(joblib.effective_n_jobs(-1), joblib.cpu_count())
        self.assertEqual(joblib.effective_n_jobs(3), 3)
        with self.assertRaises(ValueError):
            Parallel(n_jobs=0)(delayed(square)(i) for i in range(3))


if __name__ == "__main__":
    unittest.main()
