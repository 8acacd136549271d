"""What a script's functions and globals are in a worker, which loads the script under another name."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import unittest

SECONDS = 60

SCRIPT = """
import threading
import muster

BASE = 1
lock = threading.Lock()

def add(x):
    return x + BASE

def main():
    def local(x):
        return add(x) + FACTOR
    with muster.Pool(2) as pool:
        print(pool.map(local, range(3)))
        print(pool.map(guarded, range(3)))
        print(pool.map(lambda x: guarded(x) * FACTOR, range(3)))
        print(pool.apply(lambda: lock.locked()))
        print(pool.apply(lambda: here_only is None if "here_only" in globals() else "not there"))

if __name__ == "__main__":
    FACTOR = 10
    here_only = threading.Lock()
    def guarded(x):
        return x * FACTOR
    main()
"""


class Script(unittest.TestCase):
    def test_what_is_bound_only_in_the_program_itself_travels(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "script.py")
            with open(path, "w", encoding="utf-8") as file:
                file.write(SCRIPT)
            done = subprocess.run(
                [sys.executable, path], capture_output=True, text=True, timeout=SECONDS, cwd=directory, check=False
            )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(
            done.stdout.splitlines(), ["[11, 12, 13]", "[0, 10, 20]", "[0, 100, 200]", "False", "not there"]
        )

    def test_names_are_those_bound_wherever_the_file_is_loaded(self) -> None:
        from muster import bound

        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "script.py")
            for text, expected in (
                ("import a.b, c as d\nfrom e import f as g\n", {"a", "d", "g"}),
                ("x = y[0] = 1\nfor i in z: j = i\n", {"x", "i", "j"}),
                ("def f():\n  k = 1\nclass C:\n  m = 1\n", {"f", "C"}),
                ("n = [p for p in (lambda q: q)(1)]\n", {"n"}),
                ("if a:\n  b = 1\nelse:\n  c = 1\n", {"b", "c"}),
                ("if __name__ == '__main__':\n  b = 1\nelse:\n  c = 1\n", {"c"}),
                ("try:\n  a = 1\nexcept E as e:\n  b = 1\nwith o as w: pass\n", {"a", "e", "b", "w"}),
                ("from e import *\n", None),
                ("syntax error\n", None),
            ):
                with self.subTest(text):
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(text)
                    bound._names.cache_clear()
                    self.assertEqual(bound.names(path), expected)
            self.assertIsNone(bound.names(os.path.join(directory, "no such file")))


class Library(unittest.TestCase):
    def test_nng_calls_the_functions_that_mend_it(self) -> None:
        """core/nng_support.c: the extension must be where the dynamic linker looks first."""
        text = "import muster; pool = muster.Pool(1); pool.apply(int); pool.close(); pool.join()"
        done = subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LD_DEBUG": "bindings"},
        )
        for name in ("nng_stream_send", "nng_stream_recv"):
            self.assertRegex(done.stderr, rf"binding file \S*libnng\S* \[0\] to \S*_muster\S* \[0\]: .*`{name}'")


if __name__ == "__main__":
    unittest.main()
