"""The rest of what tutorials show of Pool: initializer, starmap, callbacks, chunks, maxtasksperchild, a context.

Nothing but the import is not as it was written for multiprocessing.
"""

import logging
import os

import muster as multiprocessing

names = None


def initialize(shared):
    global names
    names = shared


def greet(index):
    return f"hello, {names[index]}"


def volume(width, height, depth):
    return width * height * depth


def report(values):
    print("callback:", values)


def complain(error):
    print("error callback:", type(error).__name__)


def main():
    multiprocessing.log_to_stderr(logging.WARNING)
    with multiprocessing.Pool(2, initializer=initialize, initargs=(["ada", "grace"],)) as pool:
        print(pool.map(greet, [0, 1, 0]))
        print(pool.starmap(volume, [(1, 2, 3), (4, 5, 6)]))
        print(pool.starmap_async(volume, [(2, 2, 2)], callback=report).get())
        print(pool.apply(volume, (1, 1), {"depth": 9}))
        result = pool.apply_async(greet, (7,), error_callback=complain)
        result.wait()
        print(result.successful())
        print(sum(pool.imap(abs, range(-1000, 0), chunksize=100)))
        pool.close()
        pool.join()

    context = multiprocessing.get_context("spawn")
    with context.Pool(processes=1, maxtasksperchild=1) as pool:
        print(len({pool.apply(os.getpid) for _ in range(3)}), "processes for three tasks")


if __name__ == "__main__":
    main()
