"""What bad input and bad luck get: one task fails with a reason, the pool goes on, nothing hangs."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from multiprocessing.pool import MaybeEncodingError, RemoteTraceback
from typing import Any

import muster as multiprocessing
from muster.errors import Error, TaskError, WorkerLostError

LONG = 30.0


def square(x: int) -> int:
    return x * x


class CannotPickle:
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle of me")


class CannotUnpickle:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class CannotShow:
    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle of me")

    def __repr__(self) -> str:
        raise RuntimeError("and no text")


class NeedsTwo(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class HoldsLock(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class NoText(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Ending(BaseException):
    pass


def raise_it(error: type[BaseException], *args: Any) -> None:
    raise error(*args)


def give(what: type) -> Any:
    return what()


def inner() -> None:
    raise KeyError("deep")


def chained() -> None:
    try:
        inner()
    except KeyError as error:
        raise ValueError("shallow") from error


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


def exhaust() -> int:
    return len(bytearray(1 << 40))


def run_script(text: str) -> subprocess.CompletedProcess[str]:
    """A program of its own, from a file."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "script.py")
        with open(path, "w") as file:
            file.write(textwrap.dedent(text))
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.run([sys.executable, path], env=environment, capture_output=True, text=True, timeout=2 * LONG)


class Failures(unittest.TestCase):
    pool: Any

    @classmethod
    def setUpClass(cls) -> None:
        cls.pool = multiprocessing.Pool(2, payload_limit=64 << 20)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.pool.terminate()
        cls.pool.join()

    def tearDown(self) -> None:
        self.assertEqual(self.pool.map(square, [1, 2, 3]), [1, 4, 9])  # it goes on, whatever happened

    def test_an_exception_comes_with_its_remote_traceback(self) -> None:
        with self.assertRaises(ValueError) as caught:
            self.pool.apply(chained)
        cause = caught.exception.__cause__
        self.assertIs(type(cause), RemoteTraceback)
        self.assertIn('raise KeyError("deep")', str(cause))
        self.assertIn('raise ValueError("shallow")', str(cause))
        self.assertNotIn("worker.py", str(cause))

    def test_an_argument_that_cannot_be_pickled(self) -> None:
        for call in (
            lambda: self.pool.apply(square, (CannotPickle(),)),
            lambda: self.pool.map(square, [CannotPickle()]),
            lambda: self.pool.starmap(square, [(CannotPickle(),)], 1),
            lambda: list(self.pool.imap(square, [CannotPickle()])),
            lambda: list(self.pool.imap_unordered(square, iter([CannotPickle()]))),
        ):
            with self.assertRaisesRegex(RuntimeError, "no pickle of me"):
                call()
        with self.assertRaises(TypeError):
            self.pool.apply(square, (threading.Lock(),))

    def test_an_argument_that_cannot_be_unpickled(self) -> None:
        with self.assertRaisesRegex(ValueError, "not a number"):
            self.pool.apply(square, (CannotUnpickle(),))

    def test_a_result_that_cannot_be_pickled(self) -> None:
        with self.assertRaisesRegex(MaybeEncodingError, "no pickle of me"):
            self.pool.apply(give, (CannotPickle,))
        with self.assertRaises(MaybeEncodingError):
            self.pool.map(give, [CannotPickle])
        with self.assertRaises(MaybeEncodingError):
            self.pool.apply(give, (CannotShow,))
        with self.assertRaises(MaybeEncodingError):
            self.pool.apply(give, (threading.Lock,))

    def test_a_result_that_cannot_be_unpickled(self) -> None:
        with self.assertRaisesRegex(ValueError, "not a number"):
            self.pool.apply(give, (CannotUnpickle,))

    def test_an_exception_that_cannot_be_pickled(self) -> None:
        with self.assertRaisesRegex(MaybeEncodingError, "lock"):
            self.pool.apply(raise_it, (HoldsLock, "text"))

    def test_an_exception_that_cannot_be_rebuilt(self) -> None:
        with self.assertRaisesRegex(TaskError, "NeedsTwo: a and b.*cannot be rebuilt") as caught:
            self.pool.apply(raise_it, (NeedsTwo, "a", "b"))
        self.assertEqual(caught.exception.kind, "NeedsTwo")
        self.assertIn("raise error(*args)", str(caught.exception.__cause__))

    def test_an_exception_without_a_text(self) -> None:
        self.assertRaises(NoText, self.pool.apply, raise_it, (NoText,))

    def test_a_local_exception_class(self) -> None:
        class Local(Exception):
            pass

        def task() -> None:
            raise Local("here")

        with self.assertRaisesRegex(Local, "here"):
            self.pool.apply(task)

    def test_an_exception_with_odd_characters(self) -> None:
        for text in ("\0", "\udc80", "é" * 100_000):
            with self.assertRaises(ValueError) as caught:
                self.pool.apply(raise_it, (ValueError, text))
            self.assertEqual(caught.exception.args, (text,))

    def test_an_exception_of_a_base_class(self) -> None:
        self.assertRaises(Ending, self.pool.apply, raise_it, (Ending,))

    def test_sys_exit_fails_one_task(self) -> None:
        pids = set(self.pool.map(lambda _: os.getpid(), range(100), 1))
        with self.assertRaisesRegex(TaskError, r"sys\.exit\(3\)"):
            self.pool.apply(sys.exit, (3,))
        with self.assertRaises(TaskError):
            self.pool.apply(raise_it, (KeyboardInterrupt,))
        self.assertEqual(set(self.pool.map(lambda _: os.getpid(), range(100), 1)), pids)

    def test_os_exit_loses_one_task(self) -> None:
        with self.assertRaises(WorkerLostError) as caught:
            self.pool.apply(os._exit, (7,))
        error = caught.exception
        self.assertEqual((error.exit_status, error.signal), (7, 0))
        self.assertIn("_exit", error.task)
        self.assertIsInstance(error, RuntimeError)
        self.assertIsInstance(error, multiprocessing.ProcessError)

    def test_a_killed_worker_is_named(self) -> None:
        def task() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with self.assertRaises(WorkerLostError) as caught:
            self.pool.apply(task)
        error = caught.exception
        self.assertEqual(error.signal, signal.SIGKILL)
        self.assertGreater(error.pid, 0)
        for part in (str(error.pid), error.worker, error.host, "signal 9", "task"):
            self.assertIn(part, str(error))
        again = pickle.loads(pickle.dumps(error))
        self.assertEqual((str(again), again.pid, again.signal), (str(error), error.pid, 9))

    def test_a_crash_loses_only_what_ran(self) -> None:
        calls = [self.pool.apply_async(os._exit if i == 50 else square, (i,)) for i in range(100)]
        for i, call in enumerate(calls):
            if i == 50:
                self.assertRaises(WorkerLostError, call.get, LONG)
            else:
                self.assertEqual(call.get(LONG), i * i)

    def test_recursion_and_memory_exhaustion(self) -> None:
        self.assertRaises(RecursionError, self.pool.apply, recurse)
        self.assertRaises(MemoryError, self.pool.apply, exhaust)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        with self.assertRaises((RecursionError, pickle.PicklingError)):
            self.pool.apply(len, (deep,))
        while deep:  # or freeing it would recurse
            deep = deep.pop()

    def test_results_and_arguments_over_the_limit(self) -> None:
        with self.assertRaisesRegex(Error, "limit"):
            self.pool.apply(bytes, (80 << 20,))
        with self.assertRaisesRegex(Error, "limit"):
            self.pool.apply(len, (bytes(80 << 20),))
        with self.assertRaises((ValueError, TaskError)):
            self.pool.apply(raise_it, (ValueError, "x" * (40 << 20)))

    def test_a_function_that_the_worker_does_not_find(self) -> None:
        self.assertRaises(TypeError, self.pool.apply, 3)
        with self.assertRaises(TypeError):
            self.pool.apply(square, (1, 2))

    def test_what_a_task_prints_last_is_not_lost(self) -> None:
        done = run_script(
            """
            import os, muster
            def task():
                print("last words", end="")
            def die():
                os._exit(1)
            if __name__ == "__main__":
                with muster.Pool(1) as pool:
                    pool.apply(task)
                    try:
                        pool.apply(die)
                    except muster.WorkerLostError:
                        print(" and on")
            """
        )
        self.assertIn("last words", done.stdout, done.stderr)
        self.assertIn("and on", done.stdout)


class Memory(unittest.TestCase):
    @unittest.skipIf(os.environ.get("MUSTER_SANITIZE"), "a sanitizer needs more address space than any limit leaves")
    def test_a_worker_that_is_out_of_memory_fails_its_task(self) -> None:
        with multiprocessing.Pool(1, memory_limit=1 << 30) as pool:
            self.assertRaises(MemoryError, pool.apply, bytes, (2 << 30,))
            self.assertEqual(pool.apply(square, (3,)), 9)


class Initializers(unittest.TestCase):
    def test_an_initializer_that_raises_is_an_error_and_no_endless_restart(self) -> None:
        with multiprocessing.Pool(2, raise_it, (ValueError, "bad start")) as pool:
            with self.assertRaisesRegex(Error, "bad start"):
                pool.apply_async(square, (3,)).get(LONG)
            with self.assertRaises(Error):
                pool.map_async(square, [3]).get(LONG)

    def test_an_initializer_that_exits(self) -> None:
        with multiprocessing.Pool(1, os._exit, (5,)) as pool, self.assertRaises(Error):
            pool.apply_async(square, (3,)).get(LONG)

    def test_an_initializer_that_cannot_be_sent(self) -> None:
        with self.assertRaises(TypeError):
            multiprocessing.Pool(1, square, (threading.Lock(),))


class Processes(unittest.TestCase):
    """What happens to whole programs."""

    def test_a_program_without_the_main_guard_is_told_about_it(self) -> None:
        done = run_script(
            """
            import muster
            def f(x):
                return x
            pool = muster.Pool(1)
            print(pool.apply(f, (1,)))
            """
        )
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("__main__", done.stderr)

    def test_the_interpreter_ends_with_work_in_flight(self) -> None:
        done = run_script(
            """
            import muster, time
            def f(x):
                time.sleep(60)
            if __name__ == "__main__":
                pool = muster.Pool(2)
                calls = [pool.apply_async(f, (i,), callback=print) for i in range(100)]
                results = pool.imap(f, iter(range(5000)))
                pool.imap_unordered(f, range(5000))
                print("end")
            """
        )
        self.assertEqual((done.returncode, done.stdout), (0, "end\n"), done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_a_fork_of_a_process_with_a_pool_gets_an_error(self) -> None:
        done = run_script(
            """
            import muster, os, sys
            def f(x):
                return x
            if __name__ == "__main__":
                with muster.Pool(1) as pool:
                    waiting = pool.apply_async(f, (1,))
                    pool.apply(f, (1,))
                    sys.stdout.flush()
                    child = os.fork()
                    if child == 0:
                        for call in (
                            lambda: pool.apply(f, (1,)),
                            lambda: pool.map(f, [1]),
                            lambda: list(pool.imap(f, [1])),
                            lambda: pool.apply(len, ("a",)),
                            lambda: pool.call("f", 1),
                            lambda: muster.Pool(1),
                        ):
                            try:
                                call()
                            except RuntimeError as error:
                                assert "forked" in str(error), error
                            else:
                                print("no error")
                        sys.exit(0)
                    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), pool.apply(f, (2,)), waiting.get())
            """
        )
        self.assertEqual(done.stdout, "0 2 1\n", done.stderr)

    def interrupt(self, body: str) -> subprocess.CompletedProcess[str]:
        text = """
        import muster, os, time
        def f(x):
            os.write(1, b"running\\n")  # in one piece: there are two of them
            time.sleep(60)
        if __name__ == "__main__":
        """
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "script.py")
            with open(path, "w") as file:
                file.write(textwrap.dedent(text) + textwrap.indent(textwrap.dedent(body), "    "))
            process = subprocess.Popen(
                [sys.executable, path],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            assert process.stdout
            self.assertEqual(process.stdout.readline(), "running\n")
            begin = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            out, error = process.communicate(timeout=LONG)
            self.assertLess(time.monotonic() - begin, LONG)
            return subprocess.CompletedProcess([], process.returncode, out, error)

    def test_ctrl_c_stops_at_once_and_cleanly(self) -> None:
        for body in (
            "with muster.Pool(2) as pool:\n    pool.map(f, range(100))",
            "pool = muster.Pool(2)\npool.apply_async(f, (1,)).get()",
            "pool = muster.Pool(2)\nlist(pool.imap(f, iter(range(10))))",
            "pool = muster.Pool(2)\nnext(pool.imap_unordered(f, iter(range(10))))",
            "pool = muster.Pool(2)\npool.apply_async(f, (1,))\npool.close()\npool.join()",
        ):
            with self.subTest(body):
                done = self.interrupt(body)
                self.assertEqual(done.returncode, -signal.SIGINT, done.stderr)
                self.assertEqual(done.stderr.count("Traceback"), 1, done.stderr)
                self.assertIn("KeyboardInterrupt", done.stderr)

    def test_a_program_may_go_on_after_ctrl_c(self) -> None:
        done = self.interrupt(
            "with muster.Pool(1) as pool:\n"
            "    try:\n        pool.apply(f, (1,))\n"
            "    except KeyboardInterrupt:\n        print('caught')\n"
            "    pool.terminate()\n    pool.join()\n"
        )
        self.assertEqual((done.returncode, done.stdout), (0, "caught\n"), done.stderr)


class Mains(unittest.TestCase):
    """The main module in its forms."""

    def test_functions_of_a_script_go_by_reference(self) -> None:
        done = run_script(
            """
            import muster, pickle
            setting = None
            def initialize(value):
                global setting
                setting = value
            def f(x):
                return __name__, setting, x
            class Point:
                def __init__(self, x):
                    self.x = x
            def move(point):
                return Point(point.x + 1)
            if __name__ == "__main__":
                with muster.Pool(1, initialize, (5,)) as pool:
                    print(*pool.map(f, [1]), *pool.map(lambda x: setting * x, [2]))
                    print(type(pool.apply(move, (Point(1),))) is Point)
            """
        )
        self.assertEqual(done.stdout, "('__mp_main__', 5, 1) 10\nTrue\n", done.stderr)

    PROMPT = """
import muster
model = None
def load(value):
    global model
    model = value

def work(x):
    return model * x

class Point:
    def __init__(self, x):
        self.x = x

pool = muster.Pool(2, load, (7,))
print(pool.map(work, [1, 2]))
print(pool.map(lambda p: p.x, [Point(3)]))
print(type(pool.apply(Point, (4,))) is Point)
print(list(pool.imap(work, (i for i in range(3)))))
factor = 2
print(pool.apply(lambda: factor))
factor = 3
print(pool.apply(lambda: factor))
pool.terminate()
"""

    def test_what_is_typed_at_a_prompt_goes_by_value(self) -> None:
        expected = "[7, 14]\n[3]\nTrue\n[0, 7, 14]\n2\n3\n"
        for arguments, stdin in ((["-c", self.PROMPT], ""), (["-"], self.PROMPT), (["-i", "-q"], self.PROMPT)):
            with self.subTest(arguments[0]):
                done = subprocess.run(
                    [sys.executable, *arguments], input=stdin, capture_output=True, text=True, timeout=2 * LONG
                )
                self.assertEqual(done.stdout, expected, done.stderr)

    def test_a_module_that_is_run_by_its_name(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            package = os.path.join(directory, "package")
            os.mkdir(package)
            for name, text in (
                ("__init__.py", ""),
                ("helper.py", "VALUE = 4\n"),
                (
                    "program.py",
                    "import muster\nfrom .helper import VALUE\ndef f(x):\n    return x * VALUE\n"
                    'if __name__ == "__main__":\n    with muster.Pool(1) as pool:\n        print(pool.map(f, [2]))\n',
                ),
                (
                    "__main__.py",
                    "import muster\ndef f(x):\n    return x * 5\n"
                    "with muster.Pool(1) as pool:\n    print(pool.map(f, [2]))\n",
                ),
            ):
                with open(os.path.join(package, name), "w") as file:
                    file.write(text)
            for name, expected in (("package.program", "[8]\n"), ("package", "[10]\n")):
                done = subprocess.run(
                    [sys.executable, "-m", name], cwd=directory, capture_output=True, text=True, timeout=2 * LONG
                )
                self.assertEqual(done.stdout, expected, done.stderr)


if __name__ == "__main__":
    unittest.main()
