"""How functions become definitions and find their globals again: the two halves face to face, without processes."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pickle
import sys
import types
import unittest
from collections.abc import Iterator
from typing import Any

from muster import reduction, worker

FACTOR = 2


def times_factor(x: int) -> int:
    return x * FACTOR


class Point:
    def __init__(self, x: int) -> None:
        self.x = x


class Task:
    """A call as a worker sees it."""

    worker = "host/0"
    function = "python"

    def __init__(self, number: int, body: bytes, parts: list[Any]) -> None:
        self.number, self.content = number, body
        self.given = [memoryview(part) for part in parts]
        self.failure: tuple[Any, ...] | None = None

    def parts(self) -> list[memoryview]:
        return self.given

    def body(self) -> bytes:
        return self.content

    def definition(self) -> int:
        return self.number

    def fail(self, *failure: Any) -> None:
        self.failure = failure


class Halves:
    """A client's encoder and a worker that understands it."""

    def __init__(self, told: dict[str, Any] | None = None, prompt: bool = False) -> None:
        self.bodies: list[bytes] = []
        main = None if prompt else reduction.main_module()
        preamble = pickle.dumps({"main": main, **(told or {})})
        self.encoder = reduction.Encoder(self.define, b"client", preamble, prompt)
        self.worker = worker.Worker({})

    def define(self, body: bytes, labels: tuple[str, ...]) -> int:
        if body not in self.bodies:
            self.bodies.append(body)
        return self.bodies.index(body) + 1

    def run(self, kind: int, function: Any, content: Any) -> Any:
        entry = self.encoder.entry(function)
        parts = self.encoder.payload(entry, bytes((kind,)), content)
        task: Any = Task(entry.definition, self.bodies[entry.definition - 1], parts)
        with main_module(sys.modules["__main__"]):
            result = self.worker.call(task)
        if task.failure:
            raise pickle.loads(task.failure[3])
        return reduction.decode([memoryview(part) for part in result])

    def call(self, function: Any, *args: Any) -> Any:
        return self.run(reduction.CALL, function, (args, {}))


@contextlib.contextmanager
def main_module(module: types.ModuleType) -> Iterator[None]:
    before = sys.modules["__main__"], sys.modules["__mp_main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"], sys.modules["__mp_main__"] = before


def prompt(text: str) -> types.ModuleType:
    """A __main__ in which somebody has typed this."""
    module = types.ModuleType("__main__")
    exec(compile(text, "<stdin>", "exec"), module.__dict__)
    return module


class Definitions(unittest.TestCase):
    def setUp(self) -> None:
        saved = {name: sys.modules[name] for name in ("__main__", "__mp_main__")}
        self.addCleanup(sys.modules.update, saved)
        self.addCleanup(setattr, reduction, "space_finder", reduction.space_finder)
        self.halves = Halves()

    def test_functions_of_importable_modules_go_by_reference(self) -> None:
        halves = self.halves
        self.assertEqual(halves.call(math.sqrt, 4), 2)
        self.assertEqual(halves.call(times_factor, 4), 8)
        self.assertEqual(halves.call(Point, 4).x, 4)
        kinds = [pickle.loads(body)[2] for body in halves.bodies]
        self.assertEqual(kinds, [reduction.REFERENCE] * 3)

    def test_a_function_is_defined_once(self) -> None:
        for function in (math.sqrt, lambda x: x):
            first = self.halves.encoder.entry(function)
            self.assertIs(self.halves.encoder.entry(function), first)

    def test_lambdas_and_closures_go_by_value(self) -> None:
        base = 10

        def add(x: int) -> int:
            return x + base

        self.assertEqual(self.halves.call(add, 1), 11)
        self.assertEqual(self.halves.call(lambda x: x * 3, 2), 6)

    def test_bound_methods_and_partials_travel_with_their_arguments(self) -> None:
        self.assertEqual(self.halves.call([3, 1, 2].index, 2), 2)
        self.assertEqual(self.halves.call(functools.partial(math.pow, 2), 3), 8)
        self.assertEqual(len(self.halves.bodies), 1)

    def test_a_closure_that_has_changed_is_sent_anew(self) -> None:
        base = 10
        limits = [10]

        def add(x: int) -> int:
            return x + base

        def limited(x: int) -> int:
            return min(x, limits[0])

        self.assertEqual(self.halves.call(add, 1), 11)
        base = 20
        self.assertEqual(self.halves.call(add, 1), 21)
        self.assertEqual(self.halves.call(limited, 99), 10)
        limits[0] = 20
        self.assertEqual(self.halves.call(limited, 99), 20)

    def test_many_functions_by_value_travel_instead_of_filling_the_coordinator(self) -> None:
        for i in range(reduction.VALUES_MAX + 10):
            self.assertEqual(self.halves.call(lambda i=i: i), i)
        self.assertEqual(len(self.halves.bodies), reduction.VALUES_MAX + 1)

    def test_arguments_by_value_are_told_from_others(self) -> None:
        encoder = self.halves.encoder
        entry = encoder.entry(len)
        self.assertIsNot(type(encoder.payload(entry, b"\0", (("a",), {}))), reduction.ByValue)
        self.assertIs(type(encoder.payload(entry, b"\0", ((lambda: 1,), {}))), reduction.ByValue)
        self.assertEqual(self.halves.call(functools.reduce, lambda a, b: a + b, [1, 2, 3]), 6)

    def test_a_callable_that_is_none_is_refused(self) -> None:
        with self.assertRaisesRegex(TypeError, "not callable"):
            self.halves.encoder.entry(7)

    def test_kinds_of_calls(self) -> None:
        self.assertEqual(self.halves.run(reduction.ITEMS, abs, [-1, -2]), [1, 2])
        self.assertEqual(self.halves.run(reduction.ARGUMENTS, pow, [(2, 3), (3, 2)]), [8, 9])


class Globals(unittest.TestCase):
    setUp = Definitions.setUp

    def test_functions_by_value_of_an_importable_module_see_its_globals(self) -> None:
        self.assertEqual(self.halves.call(lambda x: x * FACTOR, 3), 6)
        seen = self.halves.call(lambda: globals() is sys.modules[__name__].__dict__)
        self.assertTrue(seen)

    def test_what_was_typed_at_a_prompt_shares_its_globals(self) -> None:
        module = prompt(
            "model = None\n"
            "def initialize(value):\n    global model\n    model = value\n"
            "def work(x):\n    return model * x\n"
            "def help(x):\n    return work(x) + 1\n"
        )
        with main_module(module):
            halves = Halves(prompt=True)
            halves.call(module.initialize, 5)
        for function, expected in ((module.work, 10), (module.help, 11), (module.work, 10)):
            with main_module(module):
                self.assertEqual(halves.call(function, 2), expected)

    def test_a_global_that_the_client_changes_is_changed_in_the_worker(self) -> None:
        module = prompt("factor = 2\ndef work(x):\n    return x * factor\n")
        halves = Halves(prompt=True)
        with main_module(module):
            self.assertEqual(halves.call(module.work, 3), 6)
        module.factor = 3  # type: ignore[attr-defined]
        with main_module(module):
            self.assertEqual(halves.call(module.work, 3), 9)

    def test_instances_of_classes_typed_at_a_prompt(self) -> None:
        module = prompt("class P:\n    def __init__(self, x):\n        self.x = x\ndef get(p):\n    return p.x\n")
        halves = Halves(prompt=True)
        with main_module(module):
            self.assertEqual(halves.call(lambda p: p.x, module.P(3)), 3)
        with main_module(module):
            self.assertEqual(halves.call(module.get, module.P(4)), 4)

    def test_functions_of_a_module_without_a_file_share_its_globals(self) -> None:
        module = types.ModuleType("made_here")
        exec("value = 1\ndef put(x):\n    global value\n    value = x\ndef get():\n    return value\n", module.__dict__)
        self.halves.call(module.put, 7)
        self.assertEqual(self.halves.call(module.get), 7)

    def test_clients_do_not_share_globals(self) -> None:
        module = prompt("def put(x):\n    global here\n    here = x\ndef get():\n    return globals().get('here')\n")
        first, second = Halves(prompt=True), Halves(prompt=True)
        second.encoder.client = b"other"
        second.worker = first.worker
        bodies: list[bytes] = []
        first.bodies = second.bodies = bodies
        with main_module(module):
            first.call(module.put, 1)
        with main_module(module):
            self.assertIsNone(second.call(module.get))
        with main_module(module):
            self.assertEqual(first.call(module.get), 1)


class Main(unittest.TestCase):
    setUp = Definitions.setUp

    def load(self, main: reduction.Main) -> types.ModuleType:
        client = worker.Client({"main": main})
        return client.main_module()

    def test_the_main_module_is_loaded_as_spawn_does(self) -> None:
        import tempfile

        with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
            file.write(
                "name = __name__\ndef f():\n    return name\nran = False\nif __name__ == '__main__':\n    ran = True\n"
            )
            file.flush()
            module = self.load(reduction.Main("", file.name, b""))
            self.assertEqual(module.f(), "__mp_main__")  # type: ignore[attr-defined]
            self.assertFalse(module.ran)  # type: ignore[attr-defined]
            self.assertIs(sys.modules["__main__"], module)

    def test_a_worker_without_the_file_loads_what_was_sent(self) -> None:
        module = self.load(reduction.Main("", "/nowhere/main.py", b"def f():\n    return 7\n"))
        self.assertEqual(module.f(), 7)  # type: ignore[attr-defined]

    def test_no_pool_is_opened_while_main_is_loaded(self) -> None:
        text = b"import muster.pool\nmuster.pool.Pool(1)\n"
        with self.assertRaisesRegex(RuntimeError, 'if __name__ == "__main__"'):
            self.load(reduction.Main("", "/nowhere/main.py", text))

    def test_a_package_main_is_not_loaded(self) -> None:
        module = types.ModuleType("__main__")
        module.__file__ = __file__
        module.__spec__ = types.SimpleNamespace(name="unittest.__main__")  # type: ignore[assignment]
        with main_module(module):
            self.assertIsNone(reduction.main_module())


class Buffers(unittest.TestCase):
    def test_large_buffers_are_not_copied_into_the_pickle(self) -> None:
        large, small = bytearray(os.urandom(1 << 20)), bytearray(b"small")
        parts = reduction.encode([pickle.PickleBuffer(large), pickle.PickleBuffer(small)])
        self.assertEqual(len(parts), 2)
        self.assertLess(len(parts[0]), 1000)
        back = reduction.decode([memoryview(part) for part in parts])
        self.assertEqual(bytes(back[0]), large)
        self.assertEqual(bytes(back[1]), small)


if __name__ == "__main__":
    unittest.main()
