"""ProcessPoolExecutor, asyncio and joblib: the other ways to a pool."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import operator
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

from muster import futures, pool
from muster.futures import ProcessPoolExecutor

LONG = 30.0  # seconds; what waits so long has failed

started = ""


def square(x: int) -> int:
    return x * x


def fail(text: str) -> None:
    raise ValueError(text)


def die(_: Any = None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def initialize(text: str) -> None:
    global started
    started = text


def what_started() -> str:
    return started


def fail_to_initialize() -> None:
    raise ArithmeticError("no worker today")


def wait_for(path: str) -> str:
    end = time.monotonic() + LONG
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise AssertionError("waited too long")
        time.sleep(0.001)
    return path


def keywords(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


class Unreadable:
    def __reduce__(self) -> Any:
        return fail, ("cannot be read",)


class Executor(unittest.TestCase):
    executor: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.executor = ProcessPoolExecutor(2)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.executor.shutdown()

    def setUp(self) -> None:
        handle = tempfile.TemporaryDirectory()
        self.addCleanup(handle.cleanup)
        self.directory = handle.name
        self.gate = os.path.join(handle.name, "gate")

    def open_gate(self) -> None:
        with open(self.gate, "w"):
            pass

    def test_submit(self) -> None:
        self.assertEqual(self.executor.submit(pow, 2, 8).result(LONG), 256)
        self.assertEqual(self.executor.submit(keywords, 1, fn=2, self=3).result(LONG), ((1,), {"fn": 2, "self": 3}))
        self.assertEqual(self.executor.submit(lambda: 5).result(LONG), 5)

    def test_an_exception_with_the_traceback_of_the_worker(self) -> None:
        future = self.executor.submit(fail, "no")
        self.assertEqual(str(future.exception(LONG)), "no")
        with self.assertRaises(ValueError) as caught:
            future.result()
        self.assertIn("in fail", str(caught.exception.__cause__))

    def test_what_cannot_be_pickled_is_the_exception_of_the_future(self) -> None:
        self.assertIsInstance(self.executor.submit(square, threading.Lock()).exception(LONG), TypeError)
        self.assertIsInstance(self.executor.submit(Unreadable).exception(LONG), ValueError)
        self.assertIsInstance(self.executor.submit(5).exception(LONG), TypeError)

    def test_as_completed_and_wait(self) -> None:
        made = [self.executor.submit(square, i) for i in range(200)]
        self.assertEqual(
            sorted(future.result() for future in concurrent.futures.as_completed(made, LONG)),
            [i * i for i in range(200)],
        )
        gated = self.executor.submit(wait_for, self.gate)
        quick = self.executor.submit(square, 3)
        done, left = concurrent.futures.wait([gated, quick], LONG, concurrent.futures.FIRST_COMPLETED)
        self.assertEqual((done, left), ({quick}, {gated}))
        self.open_gate()
        done, left = concurrent.futures.wait([gated, quick], LONG)
        self.assertEqual(left, set())
        bad = self.executor.submit(fail, "no")
        done, left = concurrent.futures.wait([bad], LONG, concurrent.futures.FIRST_EXCEPTION)
        self.assertEqual(done, {bad})

    def test_callbacks(self) -> None:
        called = threading.Event()
        got: list[Any] = []

        def done(future: Any) -> None:
            got.append(future.result())
            called.set()

        future = self.executor.submit(wait_for, self.gate)
        future.add_done_callback(done)
        self.open_gate()
        self.assertTrue(called.wait(LONG))
        future.add_done_callback(lambda future: got.append(future))
        self.assertEqual(got, [self.gate, future])

    def test_states(self) -> None:
        first = [self.executor.submit(wait_for, self.gate) for _ in range(2)]
        later = [self.executor.submit(square, i) for i in range(3)]
        self.assertTrue(first[0].running())
        self.assertFalse(first[0].cancel())
        self.assertFalse(later[0].running())
        self.assertFalse(later[0].done())
        with self.assertRaises(concurrent.futures.TimeoutError):
            later[0].result(0.01)
        self.assertTrue(later[1].cancel())
        self.assertTrue(later[1].cancelled())
        with self.assertRaises(concurrent.futures.CancelledError):
            later[1].result()
        done, _ = concurrent.futures.wait(later, LONG, concurrent.futures.FIRST_COMPLETED)
        self.assertEqual(done, {later[1]})
        self.open_gate()
        self.assertEqual(later[2].result(LONG), 4)
        self.assertTrue(later[2].done())
        self.assertFalse(later[2].cancel())
        self.assertEqual([future.result(LONG) for future in first], [self.gate] * 2)

    def test_map(self) -> None:
        self.assertEqual(list(self.executor.map(operator.add, range(9), range(9), chunksize=4)), list(range(0, 18, 2)))
        self.assertEqual(list(self.executor.map(square, [])), [])
        with self.assertRaises(ValueError):
            self.executor.map(square, [1], chunksize=0)
        with self.assertRaises(ValueError):
            self.executor.map(square, [1], buffersize=0)
        results = self.executor.map(int, ["1", "x", "3"])
        self.assertEqual(next(results), 1)
        with self.assertRaises(ValueError):
            next(results)
        with self.assertRaises(concurrent.futures.TimeoutError):
            list(self.executor.map(time.sleep, [0.2], timeout=0.01))

    def test_map_reads_no_further_than_its_buffer(self) -> None:
        read: list[int] = []

        def numbers() -> Iterator[int]:
            for i in range(100):
                read.append(i)
                yield i

        results = self.executor.map(square, numbers(), buffersize=3)
        self.assertEqual(len(read), 3)
        self.assertEqual(next(results), 0)
        self.assertEqual(len(read), 4)
        self.assertEqual(list(results), [i * i for i in range(1, 100)])

    def test_results_are_not_kept(self) -> None:
        future = self.executor.submit(set, [1])
        value = weakref.ref(future.result(LONG))
        del future
        gc.collect()
        self.assertIsNone(value())

    def test_a_lost_worker_breaks_only_its_call(self) -> None:
        future = self.executor.submit(die)
        with self.assertRaises(concurrent.futures.process.BrokenProcessPool) as caught:
            future.result(LONG)
        self.assertIsInstance(caught.exception, pool.WorkerLostError)
        self.assertEqual(caught.exception.signal, signal.SIGKILL)  # type: ignore[attr-defined]
        self.assertEqual(self.executor.submit(square, 4).result(LONG), 16)
        again = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual(again.signal, signal.SIGKILL)


class Ends(unittest.TestCase):
    def test_initializer(self) -> None:
        with ProcessPoolExecutor(1, None, initialize, ("it has",)) as executor:
            self.assertEqual(executor.submit(what_started).result(LONG), "it has")

    def test_an_initializer_that_fails_breaks_the_executor(self) -> None:
        executor = ProcessPoolExecutor(1, initializer=fail_to_initialize)
        with self.assertRaises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(square, 1).result(LONG)
        with self.assertRaises(concurrent.futures.process.BrokenProcessPool):
            executor.submit(square, 1)
        executor.shutdown()

    def test_workers_are_replaced_after_so_many_tasks(self) -> None:
        with ProcessPoolExecutor(1, max_tasks_per_child=2) as executor:
            pids = [executor.submit(os.getpid).result(LONG) for _ in range(4)]
        self.assertEqual(pids[0], pids[1])
        self.assertNotEqual(pids[1], pids[2])

    def test_wrong_arguments(self) -> None:
        for wrong in ({"max_workers": 0}, {"max_tasks_per_child": 0}):
            with self.assertRaises(ValueError):
                ProcessPoolExecutor(**wrong)
        with self.assertRaises(TypeError):
            ProcessPoolExecutor(1, initializer=5)  # type: ignore[arg-type]

    def test_no_calls_after_shutdown(self) -> None:
        executor = ProcessPoolExecutor(1)
        future = executor.submit(square, 2)
        executor.shutdown()
        self.assertTrue(future.done())
        with self.assertRaises(RuntimeError):
            executor.submit(square, 2)
        with self.assertRaises(RuntimeError):
            executor.map(square, [2])
        executor.shutdown()

    def test_shutdown_can_cancel_what_has_not_started(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            gate = os.path.join(directory, "gate")
            executor = ProcessPoolExecutor(2)
            made = [executor.submit(wait_for, gate) for _ in range(50)]
            executor.shutdown(wait=False, cancel_futures=True)
            with open(gate, "w"):
                pass
            executor.shutdown()
        self.assertEqual([future.cancelled() for future in made], [False] * 2 + [True] * 48)
        self.assertEqual(made[0].result(LONG), gate)

    def test_calls_outlive_an_executor_that_is_gone(self) -> None:
        executor: Any = ProcessPoolExecutor(1)
        made = [executor.submit(square, i) for i in range(100)]
        del executor
        gc.collect()
        self.assertEqual([future.result(LONG) for future in made], [i * i for i in range(100)])

    def test_an_executor_that_is_gone_is_given_up_with_its_last_call(self) -> None:
        kept = set(futures._all_calls)
        executor: Any = ProcessPoolExecutor(1)
        executor.submit(square, 1)
        del executor
        gc.collect()
        end = time.monotonic() + LONG
        while futures._all_calls - kept:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.001)

    def test_killed_workers_break_what_has_no_result(self) -> None:
        executor = ProcessPoolExecutor(1)
        future = executor.submit(time.sleep, LONG)
        executor.kill_workers()
        self.assertIsInstance(future.exception(LONG), concurrent.futures.process.BrokenProcessPool)

    def test_the_interpreter_ends_after_what_was_submitted(self) -> None:
        program = (
            "from muster.futures import ProcessPoolExecutor\n"
            "executor = ProcessPoolExecutor(2)\n"
            "for i in range(20): executor.submit(print, 'x', flush=True)\n"
        )
        for more in ("", "del executor\n", "executor.shutdown(wait=False)\n"):
            done = subprocess.run(
                [sys.executable, "-c", program + more], capture_output=True, text=True, timeout=2 * LONG
            )
            self.assertEqual((done.returncode, done.stdout.count("x"), done.stderr), (0, 20, ""), more)


class Asynchronous(unittest.TestCase):
    pool: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.pool = pool.Pool(2)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pool.terminate()
        cls.pool.join()

    def test_results_as_they_come(self) -> None:
        async def numbers() -> AsyncIterator[int]:
            for i in range(10):
                await asyncio.sleep(0)
                yield i

        async def main() -> None:
            expected = [i * i for i in range(10)]
            for size, buffer in ((1, None), (3, None), (1, 1), (4, 2)):
                for items in (range(10), numbers()):
                    results = self.pool.aimap(square, items, size, buffersize=buffer)
                    self.assertEqual([result async for result in results], expected)
            self.assertEqual([result async for result in self.pool.aimap(square, [])], [])

        asyncio.run(asyncio.wait_for(main(), LONG))

    def test_a_loop_goes_on_while_results_are_awaited(self) -> None:
        async def main() -> None:
            with tempfile.TemporaryDirectory() as directory:
                gate = os.path.join(directory, "gate")
                waiting = asyncio.ensure_future(asyncio.wait_for(self.pool.aimap(wait_for, [gate]).__anext__(), LONG))
                self.assertEqual(await self.pool.apply_async(square, (3,)), 9)
                self.assertFalse(waiting.done())
                with open(gate, "w"):
                    pass
                self.assertEqual(await waiting, gate)

        asyncio.run(asyncio.wait_for(main(), LONG))

    def test_what_a_task_or_the_iterable_raises(self) -> None:
        def numbers() -> Iterator[str]:
            yield "1"
            raise KeyError("end")

        async def main() -> None:
            got = []
            with self.assertRaises(ValueError):
                async for result in self.pool.aimap(int, ["1", "2", "x", "4"]):
                    got.append(result)
            with self.assertRaises(KeyError):
                async for result in self.pool.aimap(int, numbers()):
                    got.append(result)
            self.assertEqual(got, [1, 2, 1])

        asyncio.run(asyncio.wait_for(main(), LONG))

    def test_cancelling_the_task_cancels_the_calls(self) -> None:
        async def main() -> None:
            async def take() -> None:
                async for _ in self.pool.aimap(time.sleep, [2 * LONG] * 4):
                    pass

            task = asyncio.ensure_future(take())
            while self.pool.stats()["submitted"] < 4:
                await asyncio.sleep(0.001)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertEqual(await self.pool.apply_async(square, (3,)), 9)

        with pool.Pool(2) as self.pool:
            asyncio.run(asyncio.wait_for(main(), LONG))

    def test_an_executor_of_a_loop(self) -> None:
        async def main() -> None:
            with ProcessPoolExecutor(2) as executor:
                loop = asyncio.get_running_loop()
                calls = [loop.run_in_executor(executor, square, i) for i in range(20)]
                self.assertEqual(await asyncio.gather(*calls), [i * i for i in range(20)])

        asyncio.run(asyncio.wait_for(main(), LONG))


class Names(unittest.TestCase):
    def test_the_module_has_the_names_of_the_standard_one(self) -> None:
        self.assertIs(futures.wait, concurrent.futures.wait)
        self.assertTrue(issubclass(futures.LostWorker, futures.BrokenExecutor))


if __name__ == "__main__":
    unittest.main()
