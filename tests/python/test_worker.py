"""A pool of Python workers behind a musterd, and functions that cross languages."""

from __future__ import annotations

import importlib.machinery
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import types
import unittest
from collections.abc import Callable
from typing import Any

import muster
from muster.errors import ConnectError, Error, TaskError

LONG = 30.0
HERE = os.path.dirname(os.path.abspath(__file__))

setting = None


def square(x: int) -> int:
    return x * x


def initialize(value: Any) -> None:
    global setting
    setting = value


def read_setting(_: Any = None) -> Any:
    return setting


def program(name: str) -> str:
    path = os.path.join(os.environ.get("TEST_PLUGIN_DIR", ""), name)
    return path if os.path.exists(path) else shutil.which(name) or path


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + LONG
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited too long")
        time.sleep(0.005)


class Cluster:
    """A musterd, with workers in another directory and without this one's modules."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.url = f"ipc://{self.directory.name}/socket"
        self.start(program("musterd"), f"--listen={self.url}")

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=self.directory.name, env={**os.environ, **environment})
        self.processes.append(process)
        return process

    def python(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start(sys.executable, "-m", "muster.worker", *arguments, self.url)

    def stop(self) -> None:
        for process in reversed(self.processes):  # the workers first, which take leave of the musterd
            process.terminate()
            try:
                process.wait(LONG)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.directory.cleanup()


TASKS = """
import muster

@muster.task
def wordcount(text):
    "Words of a text."
    return len(text.split())

@muster.task("merge")
def merge_dictionaries(first, second):
    return {**first, **second}

@muster.task
def strange():
    return {1, 2}
"""


def setUpModule() -> None:
    """The workers cannot import this module; if it is the program, they are sent its text."""
    if __name__ != "__main__":
        import cloudpickle

        cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Remote(unittest.TestCase):
    cluster: Cluster

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cluster = Cluster()
        with open(os.path.join(cluster.directory.name, "tasks_of_mine.py"), "w") as file:
            file.write(TASKS)
        cluster.python("-n", "2", "--import", "tasks_of_mine")
        cluster.start(program("muster-worker"), "-n", "1", "--exec", cluster.url)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.cluster.stop()

    def pool(self, **more: Any) -> Any:
        return muster.Pool(url=self.cluster.url, **more)

    def test_the_whole_of_a_pool(self) -> None:
        with self.pool() as pool:
            self.assertEqual(pool.map(abs, range(-100, 0)), list(range(100, 0, -1)))
            self.assertEqual(list(pool.imap(abs, iter(range(-10, 0)))), list(range(10, 0, -1)))
            self.assertEqual(pool.apply(max, (1, 2)), 2)
            self.assertEqual(pool.map(lambda x: x + 1, [1, 2]), [2, 3])

    def script(self, text: str) -> str:
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "script.py")
            with open(path, "w") as file:
                file.write(textwrap.dedent(text))
            done = subprocess.run(
                [sys.executable, path, self.cluster.url], capture_output=True, text=True, timeout=2 * LONG
            )
            self.assertEqual(done.returncode, 0, done.stderr)
            return done.stdout

    SCRIPT = """
        import muster, os, sys
        setting = None
        class Point:
            def __init__(self, x):
                self.x = x
        def initialize(value):
            global setting
            setting = value
        def move(point):
            return Point(point.x + setting)
        if __name__ == "__main__":
            with muster.Pool(url=sys.argv[1], initializer=initialize, initargs=(3,)) as pool:
                BEFORE_THE_CALLS
                moved = pool.map(move, [Point(1), Point(2)], 1)
                print([point.x for point in moved], type(moved[0]) is Point)
                print(pool.apply(lambda: setting))
        """

    def test_functions_of_a_script_that_the_workers_have(self) -> None:
        text = self.SCRIPT.replace("BEFORE_THE_CALLS", "pass")
        self.assertEqual(self.script(text), "[4, 5] True\n3\n")

    def test_functions_of_a_script_that_the_workers_do_not_have(self) -> None:
        remove = "os.rename(__file__, __file__ + '.away')"
        text = self.SCRIPT.replace("BEFORE_THE_CALLS", remove)
        self.assertEqual(self.script(text), "[4, 5] True\n3\n")

    def test_functions_of_a_script_that_is_another_there(self) -> None:
        change = "open(__file__, 'w').write('def move(point): return 0')"
        text = self.SCRIPT.replace("BEFORE_THE_CALLS", change)
        self.assertEqual(self.script(text), "[4, 5] True\n3\n")

    def test_a_module_that_the_workers_do_not_have(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            with open(os.path.join(directory, "mine_alone.py"), "w") as file:
                file.write("NUMBER = 6\ndef f(x):\n    return x * NUMBER\n")
            sys.path.insert(0, directory)
            try:
                import cloudpickle
                import mine_alone  # type: ignore[import-not-found]

                refusal = self.assertRaisesRegex(ModuleNotFoundError, "mine_alone.*register_pickle_by_value")
                with self.pool() as pool, refusal:
                    pool.apply(mine_alone.f, (2,))
                cloudpickle.register_pickle_by_value(mine_alone)
                with self.pool() as pool:
                    self.assertEqual(pool.apply(mine_alone.f, (2,)), 12)
            finally:
                sys.path.remove(directory)
                sys.modules.pop("mine_alone", None)

    def test_a_lambda_of_a_module_that_the_workers_do_not_have(self) -> None:
        module = types.ModuleType("mine_alone")
        module.__spec__ = importlib.machinery.ModuleSpec("mine_alone", None)
        exec("plain = lambda x: len(x) + 1\nNUMBER = 6\nneedy = lambda x: x * NUMBER\n", module.__dict__)
        sys.modules["mine_alone"] = module
        self.addCleanup(sys.modules.pop, "mine_alone")
        plain, needy = module.__dict__.pop("plain"), module.__dict__.pop("needy")
        with self.pool() as pool:
            self.assertEqual(pool.map(plain, ["a", "ab"]), [2, 3])
            with self.assertRaisesRegex(ModuleNotFoundError, "mine_alone"):
                pool.apply(needy, (1,))

    def test_clients_do_not_see_each_others_globals(self) -> None:
        text = textwrap.dedent(
            """
            import muster, sys
            def put(x):
                global here
                here = x
            def get(_):
                return globals().get("here")
            with muster.Pool(url=%r) as pool:
                pool.map(put, [int(sys.argv[1])] * 50, 1)
                print(set(pool.map(get, range(20), 1)) <= {None, int(sys.argv[1])})
            """
        )
        for number in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-c", text % self.cluster.url, number],
                capture_output=True,
                text=True,
                timeout=2 * LONG,
            )
            self.assertEqual(done.stdout, "True\n", done.stderr)

    def test_an_initializer_that_raises(self) -> None:
        refusal = self.assertRaisesRegex(RuntimeError, "initializer failed: ZeroDivisionError")
        with self.pool(initializer=lambda: 1 / 0) as pool, refusal:
            pool.apply(abs, (1,))

    def test_output_and_logs_are_forwarded_when_asked(self) -> None:
        text = textwrap.dedent(
            """
            import logging, muster, sys
            def f(x):
                print("printed", x)
                print("error", x, file=sys.stderr)
                logging.getLogger("mine").warning("logged %d", x)
                logging.getLogger("mine").debug("not logged")
                return x
            logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s", stream=sys.stdout)
            with muster.Pool(1, url=URL, forward=True) as pool:
                result = pool.apply(f, (1,))
                pool.close()
                pool.join()
            print(result)
            """
        )
        for url in (None, self.cluster.url):
            with self.subTest(url):
                done = subprocess.run(
                    [sys.executable, "-c", text.replace("URL", repr(url))],
                    capture_output=True,
                    text=True,
                    timeout=2 * LONG,
                )
                self.assertEqual(
                    sorted(done.stdout.splitlines()), ["1", "mine WARNING logged 1", "printed 1"], done.stderr
                )
                self.assertEqual(done.stderr, "error 1\n")

    def test_functions_by_name(self) -> None:
        with self.pool() as pool:
            self.assertEqual(pool.call("wordcount", "a b c"), 3)
            self.assertEqual(pool.call("merge", {"a": 1}, {"b": [1.5, None, b"x"]}), {"a": 1, "b": [1.5, None, b"x"]})
            with self.assertRaisesRegex(AttributeError, "split"):
                pool.call("wordcount", 5)
            with self.assertRaisesRegex(TypeError, "result of strange is a builtins.set"):
                pool.call("strange")
            self.assertEqual(pool.call_async("wordcount", "a").get(LONG), 1)

    def test_a_worker_of_another_language(self) -> None:
        with self.pool() as pool:
            done = pool.call("muster.exec", {"argv": ["echo", "hello"]})
            self.assertEqual((done["status"], done["stdout"]), (0, b"hello\n"))
            with self.assertRaises(TaskError) as caught:
                pool.call("muster.exec", {"argv": ["/nowhere"]})
            self.assertEqual(caught.exception.kind, "ExecError")

    def test_a_caller_of_another_language(self) -> None:
        command = [program("muster"), "call", f"--pool={self.cluster.url}", "wordcount", '"a b c d"']
        if not os.path.exists(command[0]):
            self.skipTest("the program muster was not built")
        done = subprocess.run(command, capture_output=True, text=True, timeout=2 * LONG)
        self.assertEqual(json.loads(done.stdout), 4, done.stderr)

    def test_values_that_are_not_plain_say_why(self) -> None:
        with self.pool() as pool:
            for value, why in (
                ({1}, "argument 1 is a builtins.set"),
                ([1, {"a": object()}], r"argument 1\[1\]\['a'\] is a builtins.object"),
                (1 << 70, "argument 1 is an integer of more than 64 bits"),
                ({(1, 2): 3j}, "argument 1.* is a builtins.complex"),
            ):
                with self.assertRaisesRegex(TypeError, why):
                    pool.call("wordcount", value)
            deep: list[Any] = []
            deep.append(deep)
            with self.assertRaisesRegex(TypeError, "nested|recursion"):
                pool.call("wordcount", deep)

    def test_a_function_that_nobody_offers(self) -> None:
        with self.pool() as pool, self.assertRaisesRegex(Error, "nobody_has_this"):
            pool.call_async("nobody_has_this").get(LONG)

    def test_workers_of_a_cluster_are_not_ours_to_replace(self) -> None:
        with self.assertRaises(ValueError):
            self.pool(maxtasksperchild=1)


class Supervisors(unittest.TestCase):
    def test_workers_drain_when_they_are_asked_to_end(self) -> None:
        cluster = Cluster()
        self.addCleanup(cluster.stop)
        worker = cluster.python("-n", "1")
        with muster.Pool(url=cluster.url) as pool:
            self.assertEqual(pool.apply(abs, (-1,)), 1)
            begun = os.path.join(cluster.directory.name, "begun")

            def task() -> str:
                with open(begun, "w"):
                    time.sleep(0.3)
                return "finished"

            call = pool.apply_async(task)
            until(lambda: os.path.exists(begun))
            worker.send_signal(signal.SIGTERM)
            self.assertEqual(call.get(LONG), "finished")
        self.assertEqual(worker.wait(LONG), 0)

    def test_nobody_answers(self) -> None:
        with self.assertRaises(ConnectError) as caught:
            muster.Pool(url="ipc:///nowhere/at/all", connect_timeout=0.2)
        self.assertIsInstance(caught.exception, ConnectionError)

    def test_bad_arguments(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "muster.worker", "-n", "0", "ipc:///x"], capture_output=True, text=True, timeout=LONG
        )
        self.assertEqual(done.returncode, 2)
        self.assertIn("at least 1 worker", done.stderr)


class Named(unittest.TestCase):
    def test_tasks_of_a_program_are_offered_by_its_own_workers(self) -> None:
        text = TASKS + textwrap.dedent(
            """
            if __name__ == "__main__":
                with muster.Pool(1) as pool:
                    print(pool.call("wordcount", "a b"), pool.apply(wordcount, ("a",)), wordcount.__doc__)
            """
        )
        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(text)
            file.flush()
            done = subprocess.run([sys.executable, file.name], capture_output=True, text=True, timeout=2 * LONG)
        self.assertEqual(done.stdout, "2 1 Words of a text.\n", done.stderr)

    def test_bad_names_are_refused(self) -> None:
        for name in ("", "x" * 256, "python", "muster.exec", 7):
            with self.assertRaises(ValueError):
                muster.task(name)(square)  # type: ignore[call-overload]


if __name__ == "__main__":
    unittest.main()
