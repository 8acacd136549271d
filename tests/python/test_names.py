"""The names of multiprocessing, as `import muster as multiprocessing` finds them."""

from __future__ import annotations

import multiprocessing as standard
import subprocess
import sys
import unittest
from typing import Any

import muster
from muster import AS_THEY_ARE, MISSING, context

LONG = 60.0


class Names(unittest.TestCase):
    def test_importing_muster_imports_little(self) -> None:
        code = "import sys; before = set(sys.modules); import muster; print(*sorted(set(sys.modules) - before))"
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG).stdout
        heavy = {"multiprocessing", "cloudpickle", "msgpack", "asyncio", "logging", "socket", "muster._muster"}
        self.assertFalse(heavy & set(out.split()), out)

    def test_every_name_of_the_standard_module_is_there(self) -> None:
        for name in standard.__all__:
            if name != "reducer":
                self.assertTrue(hasattr(muster, name), name)
                self.assertIn(name, dir(muster))

    def test_what_can_be_had_as_it_is(self) -> None:
        for name in AS_THEY_ARE:
            self.assertEqual(getattr(muster, name), getattr(standard, name))
        self.assertEqual(muster.cpu_count(), standard.cpu_count())
        self.assertIs(muster.current_process(), standard.current_process())
        self.assertIs(muster.TimeoutError, standard.TimeoutError)
        muster.freeze_support()

    def test_what_is_not_there_says_so_when_it_is_used(self) -> None:
        for name in MISSING:
            missing = getattr(muster, name)
            with self.assertRaisesRegex(NotImplementedError, f"muster has no {name}"):
                missing()
            with self.assertRaisesRegex(NotImplementedError, f"muster has no {name}"):
                type("Mine", (missing,), {})
            self.assertIs(getattr(muster.get_context(), name), missing)

    def test_what_nobody_has_is_an_attribute_error(self) -> None:
        for place in (muster, muster.get_context(), muster.pool):  # type: ignore[attr-defined]
            with self.assertRaises(AttributeError):
                _ = place.no_such_name
        self.assertFalse(hasattr(muster, "__wrapped__"))

    def test_modules_of_the_package(self) -> None:
        module: Any = muster
        self.assertIs(module.pool.Pool, muster.Pool)
        self.assertIs(module.pool.ThreadPool, standard.pool.ThreadPool)
        self.assertIs(module.pool.RemoteTraceback, standard.pool.RemoteTraceback)
        self.assertRegex(module.__version__, r"\d+\.\d+\.\d+")

    def test_contexts(self) -> None:
        for method in ("fork", "spawn", "forkserver"):
            chosen = muster.get_context(method)
            self.assertEqual(chosen.get_start_method(), method)
            self.assertEqual(chosen.cpu_count(), standard.cpu_count())
            with chosen.Pool(1) as pool:
                self.assertEqual(pool.apply(abs, (-1,)), 1)
                self.assertTrue(pool.apply(lambda: standard.current_process().name).lower().startswith(method))
        with self.assertRaises(ValueError):
            muster.get_context("teleport")
        self.assertIs(type(muster.get_context().get_context("spawn")), context.Context)

    def test_the_start_method_can_be_set_once(self) -> None:
        code = (
            "import muster, multiprocessing\nmuster.set_start_method('spawn')\n"
            "print(muster.get_start_method(), multiprocessing.get_start_method())\n"
            "try:\n    muster.set_start_method('fork')\nexcept RuntimeError as error:\n    print(error)\n"
        )
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=LONG).stdout
        self.assertEqual(out, "spawn spawn\ncontext has already been set\n")

    def test_star_import(self) -> None:
        names: dict[str, Any] = {}
        exec("from muster import *", names)
        self.assertIs(names["Pool"], muster.Pool)


if __name__ == "__main__":
    unittest.main()
