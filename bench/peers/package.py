"""The lines of muster-bench for the Python package and what it is compared with: run by an interpreter that has muster,
numpy and joblib. One line per process, asked for samples as bench.h describes.

A line's name says whose turn it is and what is measured: "muster apply", "standard apply".
"""

import multiprocessing
import os
import subprocess
import sys
import time

WORKERS = 2
ARRAY_BYTES = 8 << 20


def nothing(argument=None):
    return None


def echo(argument):
    return argument


def pid(_):
    time.sleep(0.05)  # long enough for the other worker to get one as well
    return os.getpid()


def timed(count, work):
    """Thousand calls a second."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start) / 1e3


def apply(pool):
    """Microseconds for one call."""
    calls = 1500
    start = time.perf_counter()
    for _ in range(calls):
        pool.apply(nothing, (1,))
    return (time.perf_counter() - start) / calls * 1e6


def apply_async(pool):
    tasks = 20_000

    def work():
        for result in [pool.apply_async(nothing, (1,)) for _ in range(tasks)]:
            result.get()

    return timed(tasks, work)


def map_one(pool):
    items = range(20_000)
    return timed(len(items), lambda: pool.map(nothing, items, 1))


def map_chunks(pool):
    items = range(1_000_000)
    return timed(len(items), lambda: pool.map(nothing, items))


def imap(pool):
    items = range(20_000)

    def work():
        for _ in pool.imap(nothing, items):
            pass

    return timed(len(items), work)


def array(pool):
    """GB/s, argument and result counted."""
    import numpy

    calls = 12
    argument = numpy.ones(ARRAY_BYTES, dtype=numpy.uint8)
    start = time.perf_counter()
    for _ in range(calls):
        pool.apply(echo, (argument,))
    return 2 * ARRAY_BYTES * calls / (time.perf_counter() - start) / 1e9


def submit(executor):
    tasks = 5_000

    def work():
        for future in [executor.submit(nothing, 1) for _ in range(tasks)]:
            future.result()

    return timed(tasks, work)


def batches_of_one(backend):
    import joblib

    tasks = 3_000

    def work():
        with joblib.parallel_config(backend=backend, n_jobs=WORKERS):
            joblib.Parallel(batch_size=1)(joblib.delayed(nothing)() for _ in range(tasks))

    return timed(tasks, work)


def first_result(whose):
    """Milliseconds from opening a pool to its first result, in a process that has not had one before."""
    command = [sys.executable, __file__, "--first-result", whose]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def memory(pool):
    """KiB of a worker that has run something: its own pages, and its part of those that it shares."""
    sizes = []
    for worker in set(pool.map(pid, range(2 * WORKERS), 1)):
        with open(f"/proc/{worker}/smaps_rollup") as file:
            sizes += [int(line.split()[1]) for line in file if line.startswith("Pss:")]
    return sum(sizes) / len(sizes)


POOL_LINES = {
    "apply": apply,
    "apply-async": apply_async,
    "map-1": map_one,
    "map": map_chunks,
    "imap": imap,
    "array": array,
    "memory": memory,
}


def open_pool(whose, method="fork"):
    if whose == "muster":
        import muster

        return muster.Pool(WORKERS)
    return multiprocessing.get_context(method).Pool(WORKERS)


def open_line(whose, what):
    """What gives a sample, and what ends it."""
    if what in POOL_LINES:
        pool = open_pool(whose, "forkserver" if what == "memory" else "fork")

        def end():
            pool.terminate()
            pool.join()

        return lambda: POOL_LINES[what](pool), end
    if what == "submit":
        if whose == "muster":
            from muster.futures import ProcessPoolExecutor
        else:
            from concurrent.futures import ProcessPoolExecutor
        executor = ProcessPoolExecutor(WORKERS)
        return lambda: submit(executor), executor.shutdown
    if what == "joblib":
        if whose == "muster":
            import muster.joblib  # noqa: F401  (registers the backend)
        return lambda: batches_of_one("muster" if whose == "muster" else "loky"), lambda: None
    return lambda: first_result(whose), lambda: None


def print_first_result(whose):
    if whose == "muster":
        import muster.pool  # noqa: F401  (imported before the clock starts, as multiprocessing is)
    else:
        import multiprocessing.pool  # noqa: F401
    start = time.perf_counter()
    with open_pool(whose, "forkserver") as pool:
        pool.apply(nothing, (1,))
        elapsed = time.perf_counter() - start
    print(elapsed * 1e3)


def main():
    if sys.argv[1] == "--first-result":
        print_first_result(sys.argv[2])
        return
    try:
        sample, end = open_line(*sys.argv[1].split())
    except ImportError as error:
        print(f"missing {error}", flush=True)
        return
    sample()
    print("ready", flush=True)
    for _ in sys.stdin:
        print("value", sample(), flush=True)
    end()


if __name__ == "__main__":
    main()
