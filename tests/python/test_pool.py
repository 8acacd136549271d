"""Pool, as somebody finds it who has changed the import: what multiprocessing.Pool does, and what it lacks."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import multiprocessing as standard
import operator
import os
import queue
import sys
import threading
import time
import unittest
import unittest.mock
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import muster as multiprocessing
from muster.errors import Error

LONG = 30.0  # seconds; what waits so long has failed

setting = None
lock = threading.Lock()  # which nobody can pickle


def square(x: int) -> int:
    return x * x


def power(x: int, y: int) -> int:
    return int(x**y)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def fail(text: str) -> None:
    raise ValueError(text)


def initialize(value: Any) -> None:
    global setting
    setting = value


def read_setting(_: Any = None) -> Any:
    return setting


def pid(_: Any = None) -> int:
    return os.getpid()


def touch(path: str) -> str:
    with open(path, "a") as file:
        file.write("x")
    return path


def numbers(count: int, fail_at: int = -1) -> Iterator[int]:
    for i in range(count):
        if i == fail_at:
            raise ArithmeticError(f"no {i}")
        yield i


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited too long")
        time.sleep(0.001)


class Shared(unittest.TestCase):
    """Tests that leave nothing behind in their pool."""

    pool: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.pool = multiprocessing.Pool(2)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pool.terminate()
        cls.pool.join()
        cls.pool = None


class Calls(Shared):
    def test_apply(self) -> None:
        self.assertEqual(self.pool.apply(power, (2, 3)), 8)
        self.assertEqual(self.pool.apply(power, (), {"x": 3, "y": 2}), 9)
        self.assertEqual(self.pool.apply(power, [2, 5]), 32)

    def test_apply_async(self) -> None:
        results = [self.pool.apply_async(square, (i,)) for i in range(1000)]
        self.assertEqual([result.get(LONG) for result in results], [i * i for i in range(1000)])
        self.assertTrue(results[0].ready())
        self.assertTrue(results[0].successful())
        self.assertIs(type(results[0]), multiprocessing.pool.AsyncResult)

    def test_a_result_can_be_taken_again_and_is_the_same(self) -> None:
        result = self.pool.apply_async(list, ([1],))
        self.assertIs(result.get(LONG), result.get())

    def test_a_result_that_is_not_ready(self) -> None:
        result = self.pool.apply_async(nap, (0.5,))
        self.assertFalse(result.ready())
        with self.assertRaises(ValueError):
            result.successful()
        with self.assertRaises(standard.TimeoutError):
            result.get(0.01)
        result.wait(0.01)
        self.assertEqual(result.get(LONG), 0.5)

    def test_map_and_starmap(self) -> None:
        self.assertEqual(self.pool.map(square, range(100)), [i * i for i in range(100)])
        self.assertEqual(self.pool.map(square, (i for i in range(10)), 3), [i * i for i in range(10)])
        self.assertEqual(self.pool.starmap(power, [(2, i) for i in range(9)], 2), [2**i for i in range(9)])
        self.assertEqual(self.pool.starmap_async(power, [[2, 3]]).get(LONG), [8])
        self.assertEqual(self.pool.map_async(square, [3], 1).get(LONG), [9])
        self.assertEqual(self.pool.map(square, []), [])

    def test_map_of_more_than_one_batch(self) -> None:
        count = multiprocessing.pool.BATCH_CALLS + 10
        self.assertEqual(self.pool.map(square, range(count), 1), [i * i for i in range(count)])

    def test_automatic_chunks_are_many_so_that_their_results_may_be_large(self) -> None:
        before = self.pool.stats()["submitted"]
        self.assertEqual(self.pool.map(len, self.pool.map(bytes, [1 << 20] * 100)), [1 << 20] * 100)
        self.assertGreaterEqual(self.pool.stats()["submitted"] - before, 2 * 50)

    def test_automatic_chunks_of_large_items_are_small(self) -> None:
        before = self.pool.stats()["submitted"]
        items = [bytes([i % 256]) * 10_000 for i in range(640)]
        with unittest.mock.patch.object(multiprocessing.pool, "CHUNK_BYTES", 50_000):
            self.assertEqual(self.pool.map(len, items), [10_000] * 640)
        self.assertGreater(self.pool.stats()["submitted"] - before, 100)

    def test_chunksize_must_be_positive(self) -> None:
        for call in (self.pool.map, self.pool.imap, self.pool.imap_unordered):
            with self.assertRaises(ValueError):
                call(square, [1], 0)

    def test_lambdas_closures_partials_methods_and_builtins(self) -> None:
        base = 5
        self.assertEqual(self.pool.map(lambda x: x + base, [1, 2]), [6, 7])
        self.assertEqual(self.pool.map(functools.partial(power, 2), [1, 2]), [2, 4])
        self.assertEqual(self.pool.map("a-b".split, ["-", "b"]), [["a", "b"], ["a-", ""]])
        self.assertEqual(self.pool.map(operator.itemgetter(1), ["ab", "cd"]), ["b", "d"])
        self.assertEqual(self.pool.apply(math.sqrt, (4,)), 2)
        self.assertEqual(self.pool.map(int, ["1", "2"]), [1, 2])

    def test_local_functions_may_call_themselves_and_each_other(self) -> None:
        def factorial(n: int) -> int:
            return 1 if n == 0 else n * factorial(n - 1)

        def twice(n: int) -> int:
            return 2 * factorial(n)

        self.assertEqual(self.pool.map(twice, [3, 4]), [12, 48])

    def test_local_classes_go_and_come_back(self) -> None:
        class Box:
            def __init__(self, content: int) -> None:
                self.content = content

        box = self.pool.apply(lambda box: Box(box.content + 1), (Box(1),))
        self.assertIsInstance(box, Box)
        self.assertEqual(box.content, 2)

    def test_the_name_of_the_worker(self) -> None:
        name = self.pool.apply(lambda: (standard.current_process().name, standard.parent_process().pid))
        self.assertRegex(name[0], r"PoolWorker-[12]$")
        self.assertEqual(name[1], os.getpid())

    def test_labels_priorities_and_retries(self) -> None:
        label = f"python={sys.version_info[0]}.{sys.version_info[1]}"
        call = self.pool.apply_async(square, (3,), priority=5, retries=2, labels=[label], timeout=LONG)
        self.assertEqual(call.get(LONG), 9)
        with self.assertRaises(Error):
            self.pool.apply(square, (3,), labels=["moon=full"])
        for wrong in ({"timeout": 0}, {"retries": -1}, {"priority": 5000}):
            with self.assertRaises(ValueError):
                self.pool.apply_async(square, (3,), **wrong)

    def test_threads_share_a_pool(self) -> None:
        found: list[Any] = []
        threads = [threading.Thread(target=lambda: found.append(self.pool.map(square, range(50), 1))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONG)
        self.assertEqual(found, [[i * i for i in range(50)]] * 4)

    def test_a_pool_cannot_be_pickled(self) -> None:
        with self.assertRaises(NotImplementedError):
            self.pool.apply(square, (self.pool,))


def keep(array: Any) -> int:
    global setting
    setting = array
    return int(array.sum())


class Arrays(Shared):
    """What travels beside its pickle."""

    def setUp(self) -> None:
        try:
            import numpy
        except ImportError:
            self.skipTest("numpy is not installed")
        self.numpy = numpy

    def test_arrays_go_and_come_back(self) -> None:
        numpy = self.numpy
        base = numpy.arange(1 << 18, dtype="f8").reshape(512, 512)
        for array in (base, base.T, base[::3, ::5], base[:4, :4], numpy.zeros(0), numpy.asfortranarray(base)):
            back = self.pool.apply(operator.neg, (array,))
            self.assertTrue((back == -array).all())
            back += 1  # it is ours
        self.assertTrue(
            all((a == b).all() for a, b in zip(self.pool.map(operator.pos, [base, base.T]), [base, base.T]))
        )
        self.assertEqual([array.sum() for array in self.pool.imap(numpy.ones, [1 << 16] * 20)], [1 << 16] * 20)

    def test_what_a_task_keeps_of_its_arguments_stays(self) -> None:
        with multiprocessing.Pool(1) as pool:
            total = pool.apply(keep, (self.numpy.arange(1 << 18),))
            for _ in range(5):
                pool.apply(len, (bytes(1 << 21),))
            self.assertEqual(pool.apply(lambda: int(setting.sum())), total)

    def test_a_result_outlives_its_pool(self) -> None:
        with multiprocessing.Pool(1) as pool:
            array = pool.apply(self.numpy.ones, (1 << 20,))
        pool.join()
        del pool
        gc.collect()
        self.assertEqual(array.sum(), 1 << 20)


class Iterating(Shared):
    def test_imap(self) -> None:
        for source in (range(2000), list(range(2000)), numbers(2000), iter(range(2000))):
            for size in (1, 7):
                self.assertEqual(list(self.pool.imap(operator.neg, source if size == 1 else range(2000), size))[5], -5)
        self.assertEqual(list(self.pool.imap(square, numbers(100), 7)), [i * i for i in range(100)])
        self.assertEqual(sorted(self.pool.imap_unordered(square, numbers(100), 7)), [i * i for i in range(100)])
        self.assertEqual(list(self.pool.imap(square, [])), [])

    def test_next_with_a_timeout(self) -> None:
        for call in (self.pool.imap, self.pool.imap_unordered):
            results = call(nap, [0.3])
            with self.assertRaises(standard.TimeoutError):
                results.next(timeout=0.01)
            self.assertEqual(results.next(timeout=LONG), 0.3)
            with self.assertRaises(StopIteration):
                results.next(timeout=LONG)
            with self.assertRaises(StopIteration):
                next(results)

    def test_unordered_results_come_as_they_are_ready(self) -> None:
        self.assertEqual(list(self.pool.imap_unordered(nap, [1.0, 0.0])), [0.0, 1.0])

    def test_a_generator_that_raises_in_the_middle(self) -> None:
        results = self.pool.imap(square, numbers(10, fail_at=3))
        self.assertEqual([next(results) for _ in range(3)], [0, 1, 4])
        with self.assertRaisesRegex(ArithmeticError, "no 3"):
            next(results)
        with self.assertRaises(StopIteration):
            next(results)
        unordered = self.pool.imap_unordered(square, numbers(10, fail_at=3))
        got = []
        with self.assertRaisesRegex(ArithmeticError, "no 3"):
            for value in unordered:
                got.append(value)
        self.assertEqual(sorted(got), [0, 1, 4])

    def test_a_task_that_raises_does_not_end_the_iteration(self) -> None:
        results = self.pool.imap(math.sqrt, [4, -1, 9])
        self.assertEqual(next(results), 2)
        with self.assertRaises(ValueError):
            next(results)
        self.assertEqual(next(results), 3)

    def test_the_input_is_read_only_so_far_ahead(self) -> None:
        read: list[int] = []

        def source() -> Iterator[int]:
            for i in range(1000):
                read.append(i)
                yield i

        results = self.pool.imap(square, source(), buffersize=5)
        for i in range(20):
            self.assertEqual(next(results), i * i)
            self.assertLessEqual(len(read), i + 1 + 5)
        results.close()
        endless = self.pool.imap(square, iter(int, 1))
        self.assertEqual([next(endless) for _ in range(5)], [0] * 5)
        endless.close()

    def test_a_bad_buffersize_is_refused(self) -> None:
        for size in (0, -1, 1.5):
            with self.assertRaises(ValueError):
                self.pool.imap(square, [1], buffersize=size)

    def test_items_may_come_from_a_source_that_waits(self) -> None:
        source: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        results = self.pool.imap(square, iter(source.get, None))
        for i in range(5):
            source.put(i)
            self.assertEqual(results.next(LONG), i * i)
        source.put(None)
        with self.assertRaises(StopIteration):
            next(results)

    def test_an_iterator_keeps_its_pool_alive(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            results = multiprocessing.Pool(1).imap(square, numbers(5000))
            gc.collect()
            self.assertEqual(sum(1 for _ in results), 5000)

    def test_progress(self) -> None:
        try:
            import tqdm  # noqa: F401
        except ImportError:
            with self.assertRaisesRegex(ImportError, "tqdm"):
                self.pool.map(square, [1], progress=True)
            return
        self.assertEqual(self.pool.map(square, range(100), progress=True), [i * i for i in range(100)])
        self.assertEqual(list(self.pool.imap(square, range(10), progress=True)), [i * i for i in range(10)])


class Callbacks(Shared):
    def test_callbacks_have_run_when_the_result_is_ready(self) -> None:
        seen: list[Any] = []
        for _ in range(50):
            self.pool.apply_async(square, (3,), callback=seen.append).wait()
        self.assertEqual(seen, [9] * 50)
        self.pool.map_async(square, [1, 2], callback=seen.append).wait(LONG)
        self.assertEqual(seen[-1], [1, 4])

    def test_error_callbacks(self) -> None:
        seen: list[Any] = []
        result = self.pool.apply_async(fail, ("a",), callback=seen.append, error_callback=seen.append)
        self.assertRaises(ValueError, result.get, LONG)
        self.assertIsInstance(seen[0], ValueError)
        self.pool.map_async(fail, ["a"], error_callback=seen.append).wait(LONG)
        self.assertIsInstance(seen[1], ValueError)
        self.pool.apply_async(square, (threading.Lock(),), error_callback=seen.append).wait(LONG)
        self.assertIsInstance(seen[2], TypeError)

    def test_a_callback_that_raises_is_reported_and_the_pool_goes_on(self) -> None:
        reported: list[Any] = []
        hook, sys.unraisablehook = sys.unraisablehook, reported.append
        try:
            result = self.pool.apply_async(square, (3,), callback=lambda _: 1 / 0)
            self.assertEqual(result.get(LONG), 9)
            added = self.pool.apply_async(square, (3,))
            added.add_done_callback(lambda _: 1 / 0)
            added.wait(LONG)
            until(lambda: len(reported) == 2)
        finally:
            sys.unraisablehook = hook
        self.assertIs(reported[0].exc_type, ZeroDivisionError)
        self.assertEqual(self.pool.apply(square, (4,)), 16)

    def test_callbacks_added_later(self) -> None:
        seen: list[Any] = []
        slow = self.pool.apply_async(nap, (0.1,))
        slow.add_done_callback(seen.append)
        self.assertEqual(seen, [])
        slow.wait(LONG)
        until(lambda: seen)
        slow.add_done_callback(seen.append)
        self.assertEqual(seen, [slow, slow])
        many = self.pool.map_async(nap, [0.0, 0.1], 1)
        many.add_done_callback(seen.append)
        until(lambda: len(seen) == 3)
        self.assertTrue(many.ready())

    def test_a_callback_may_call_the_pool(self) -> None:
        second: list[Any] = []
        done = threading.Event()

        def follow(value: int) -> None:
            result = self.pool.apply_async(square, (value,))
            result.add_done_callback(lambda result: (second.append(result.get()), done.set()))

        self.pool.apply_async(square, (3,), callback=follow)
        self.assertTrue(done.wait(LONG))
        self.assertEqual(second, [81])


class Awaiting(Shared):
    def test_results_can_be_awaited(self) -> None:
        async def main() -> list[Any]:
            calls = [self.pool.apply_async(square, (i,)) for i in range(50)]
            values = [await call for call in calls]
            return [*values, await self.pool.map_async(square, [7])]

        self.assertEqual(asyncio.run(main()), [*(i * i for i in range(50)), [49]])

    def test_errors_are_raised_where_it_is_awaited(self) -> None:
        async def main() -> None:
            await self.pool.apply_async(fail, ("x",))

        with self.assertRaisesRegex(ValueError, "x"):
            asyncio.run(main())

    def test_a_cancelled_coroutine_cancels_its_call(self) -> None:
        call = self.pool.apply_async(nap, (LONG,))

        async def main() -> None:
            async def wait() -> None:
                await call

            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(wait(), 0.1)

        asyncio.run(main())
        call.wait(LONG)
        from concurrent.futures import CancelledError

        self.assertRaises(CancelledError, call.get)


class Globals(unittest.TestCase):
    def test_an_initializer_and_a_task_meet_in_the_same_module(self) -> None:
        with multiprocessing.Pool(2, initialize, ({"a": 1},)) as pool:
            self.assertEqual(pool.map(read_setting, range(4)), [{"a": 1}] * 4)
            self.assertEqual(pool.map(lambda _: setting, range(4)), [{"a": 1}] * 4)
            self.assertEqual(pool.map(lambda _: read_setting(), range(4)), [{"a": 1}] * 4)
            self.assertFalse(pool.apply(lambda: lock.locked()))

    def test_an_initializer_may_be_a_closure(self) -> None:
        value = [1, 2]

        def begin() -> None:
            global setting
            setting = value

        with multiprocessing.Pool(1, begin) as pool:
            self.assertEqual(pool.apply(read_setting), [1, 2])

    def test_large_initargs_reach_every_worker(self) -> None:
        with multiprocessing.Pool(1, initialize, (bytes(100 << 20),), maxtasksperchild=1) as pool:
            self.assertEqual(pool.map(lambda _: len(setting or b""), range(2), 1), [100 << 20] * 2)

    def test_the_process_is_as_multiprocessing_makes_it(self) -> None:
        with multiprocessing.Pool(1) as pool:
            there = pool.apply(lambda: (os.getcwd(), sys.argv, bytes(standard.current_process().authkey)))
        self.assertEqual(there[:2], (os.getcwd(), sys.argv))
        self.assertEqual(there[2], standard.current_process().authkey)


class Lifetime(unittest.TestCase):
    def test_workers_are_replaced_after_so_many_tasks(self) -> None:
        with multiprocessing.Pool(1, maxtasksperchild=2) as pool:
            pids = [pool.apply(pid) for _ in range(6)]
        self.assertEqual(len(set(pids)), 3)

    def test_bad_arguments_are_refused(self) -> None:
        for wrong in ({"processes": 0}, {"processes": -1}, {"maxtasksperchild": 0}, {"maxtasksperchild": "1"}):
            with self.assertRaises(ValueError):
                multiprocessing.Pool(**wrong)  # type: ignore[arg-type]
        with self.assertRaises(TypeError):
            multiprocessing.Pool(1, initializer=3)  # type: ignore[arg-type]
        with self.assertRaises(ValueError):
            multiprocessing.Pool(url="tcp//nowhere")

    def test_a_closed_pool_finishes_its_work_and_takes_no_more(self) -> None:
        pool = multiprocessing.Pool(2)
        results = [pool.apply_async(nap, (0.1,)) for _ in range(4)]
        pool.close()
        for call in (pool.apply, pool.apply_async, pool.map, pool.imap, pool.starmap_async):
            with self.assertRaisesRegex(ValueError, "Pool not running"):
                call(square, [1])
        with self.assertRaisesRegex(ValueError, "Pool not running"):
            pool.call("square", 1)
        pool.join()
        self.assertEqual([result.get(0) for result in results], [0.1] * 4)
        with self.assertRaises(ValueError):
            pool.__enter__()

    def test_join_of_a_running_pool_is_refused(self) -> None:
        with multiprocessing.Pool(1) as pool, self.assertRaisesRegex(ValueError, "still running"):
            pool.join()

    def test_iterators_go_on_after_close(self) -> None:
        pool = multiprocessing.Pool(2)
        results = pool.imap(square, numbers(3000))
        more = pool.imap_unordered(square, range(3000))
        pool.close()
        self.assertEqual(list(results), [i * i for i in range(3000)])
        self.assertEqual(sorted(more), [i * i for i in range(3000)])
        pool.join()

    def test_join_runs_what_nobody_iterates(self) -> None:
        import tempfile

        for source in (list, iter):
            with tempfile.NamedTemporaryFile() as file:
                pool = multiprocessing.Pool(2)
                kept = pool.imap(touch, source([file.name] * 1500))
                pool.imap_unordered(touch, source([file.name] * 1500))
                pool.close()
                pool.join()
                self.assertEqual(os.path.getsize(file.name), 3000)
                self.assertEqual(len(list(kept)), 1500)

    def test_terminate_ends_everything_at_once(self) -> None:
        from concurrent.futures import CancelledError

        pool = multiprocessing.Pool(2)
        calls = [pool.apply_async(nap, (LONG,)) for _ in range(10)]
        many = pool.map_async(nap, [LONG] * 100, 1)
        results = pool.imap(nap, iter([LONG] * 5))
        source: queue.SimpleQueue[Any] = queue.SimpleQueue()
        waiting = pool.imap(nap, iter(source.get, None))
        unordered = pool.imap_unordered(nap, iter(source.get, None))
        begin = time.monotonic()
        pool.terminate()
        pool.join()
        for call in (*calls, many):
            self.assertRaises(CancelledError, call.get, LONG)
        for iterator in (results, waiting, unordered):
            self.assertRaises(CancelledError, iterator.next, LONG)
        self.assertLess(time.monotonic() - begin, LONG)
        source.put(None)
        source.put(None)

    def test_a_pool_that_nobody_holds_ends_its_workers(self) -> None:
        pool = multiprocessing.Pool(1)
        worker = pool.apply(pid)
        gone = weakref.ref(pool)
        with self.assertWarns(ResourceWarning):
            del pool
            gc.collect()
        self.assertIsNone(gone())

        def dead() -> bool:
            try:
                os.kill(worker, 0)
            except ProcessLookupError:
                return True
            return False

        until(dead)

    def test_a_result_keeps_its_pool_alive(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            self.assertEqual(multiprocessing.Pool(1).apply_async(nap, (0.1,)).get(LONG), 0.1)

    def test_pools_inside_pools(self) -> None:
        def inner(x: int) -> list[int]:
            with multiprocessing.Pool(2) as pool:
                return list(pool.map(square, [x, x + 1]))

        with multiprocessing.Pool(2) as pool:
            self.assertEqual(pool.map(inner, [1, 2]), [[1, 4], [4, 9]])

    def test_the_workers_can_be_looked_at(self) -> None:
        with multiprocessing.Pool(2) as pool:
            self.assertEqual(len(pool._pool), 2)
            self.assertTrue(all(worker.is_alive() for worker in pool._pool))
            self.assertIn(pool.apply(pid), [worker.pid for worker in pool._pool])
            self.assertEqual(pool.stats()["succeeded"], 1)
            until(lambda: pool.workers() == 2)
            self.assertEqual(len(pool.status(LONG)["workers"]), 2)


class Stopping(unittest.TestCase):
    def test_a_task_over_its_time_limit_is_stopped(self) -> None:
        with multiprocessing.Pool(1) as pool:
            call = pool.apply_async(nap, (LONG,), timeout=0.2)
            with self.assertRaisesRegex(standard.TimeoutError, "nap"):
                call.get(LONG)
            self.assertEqual(pool.apply(square, (3,)), 9)

    def test_a_cancelled_task_runs_its_finally_blocks(self) -> None:
        import tempfile
        from concurrent.futures import CancelledError

        def task(path: str) -> None:
            try:
                touch(path)
                time.sleep(LONG)
            finally:
                touch(path)

        with tempfile.NamedTemporaryFile() as file, multiprocessing.Pool(1) as pool:
            call = pool.apply_async(task, (file.name,))
            until(lambda: os.path.getsize(file.name) == 1)
            call.cancel()
            self.assertRaises(CancelledError, call.get, LONG)
            until(lambda: os.path.getsize(file.name) == 2)

    def test_what_has_not_started_is_cancelled_at_once(self) -> None:
        from concurrent.futures import CancelledError

        with multiprocessing.Pool(1) as pool:
            first = pool.apply_async(nap, (0.2,))
            second = pool.apply_async(nap, (LONG,))
            second.cancel()
            self.assertRaises(CancelledError, second.get, LONG)
            self.assertEqual(first.get(LONG), 0.2)


class Retrying(unittest.TestCase):
    def test_retries_run_a_task_again(self) -> None:
        import tempfile

        def flaky(path: str) -> int:
            touch(path)
            if os.path.getsize(path) < 3:
                os._exit(3)
            return os.path.getsize(path)

        with tempfile.NamedTemporaryFile() as file, multiprocessing.Pool(1) as pool:
            self.assertEqual(pool.apply(flaky, (file.name,), retries=3), 3)


if __name__ == "__main__":
    unittest.main()
