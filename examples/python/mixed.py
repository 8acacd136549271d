"""One pool of C and of Python workers: a musterd, a muster-worker with a plugin in C, and a python -m muster.worker.

The C function `text.words` and the Python function `longest_word` are called in the same way, from here and from every
other language: `muster call --pool URL longest_word '"some words"'`.

usage: mixed.py PLUGIN

PLUGIN is the shared object made of examples/plugins/text.c; musterd, muster-worker and muster are looked for in its
directory and in PATH.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import muster


@muster.task
def longest_word(text):
    return max(text.split(), key=len)


def square(x):
    return x * x


def run(plugin, url):
    path = os.pathsep.join([str(plugin.parent), os.environ.get("PATH", "")])
    python = [sys.executable, "-m", "muster.worker", "-n", "1", "--import", "mixed", url]
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent)}
    commands = [
        [shutil.which("musterd", path=path), f"--listen={url}"],
        [shutil.which("muster-worker", path=path), "--workers=1", f"--load={plugin}", url],
        python,
    ]
    processes = []
    try:
        processes += [subprocess.Popen(command, env=environment) for command in commands]
        with muster.Pool(url=url) as pool:
            text = "a pool for every language"
            print("C counts", pool.call("text.words", text), "words")
            print("Python finds the longest one:", pool.call("longest_word", text))
            print("ordinary functions go to the Python worker:", pool.map(square, range(5)))
        command = [shutil.which("muster", path=path), "call", "--pool", url, "longest_word", '"from a shell"']
        answer = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
        print("and a shell gets:", answer.stdout.strip())
    finally:
        for process in reversed(processes):  # the workers first
            process.terminate()
            process.wait(30)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        run(pathlib.Path(sys.argv[1]).resolve(), f"ipc://{directory}/muster")
