"""The multiprocessing.Pool lines of muster-bench: one line per process, asked for samples as bench.h describes."""

import multiprocessing
import sys
import time

WORKERS = 2
ARGUMENT = b"0123456789abcdef"
MEGABYTE = 1 << 20


def nothing(argument):
    return None


def echo(argument):
    return argument


def sleep_until(seconds):
    """Ends `seconds` after its start, whatever the kernel rounds a single sleep up to."""
    deadline = time.perf_counter() + seconds
    while (left := deadline - time.perf_counter()) > 0:
        time.sleep(left)


def apply(pool):
    """Microseconds for one call."""
    calls = 1500
    start = time.perf_counter()
    for _ in range(calls):
        pool.apply(nothing, (ARGUMENT,))
    return (time.perf_counter() - start) / calls * 1e6


def apply_async(pool):
    """Thousand tasks a second, all submitted before the first result is taken."""
    tasks = 10_000
    start = time.perf_counter()
    results = [pool.apply_async(nothing, (ARGUMENT,)) for _ in range(tasks)]
    for result in results:
        result.get()
    return tasks / (time.perf_counter() - start) / 1e3


def map_with(items, chunksize):
    def sample(pool):
        arguments = list(range(items))
        start = time.perf_counter()
        pool.map(nothing, arguments, chunksize)
        return items / (time.perf_counter() - start) / 1e3

    return sample


def megabyte(pool):
    """GB/s, argument and result counted."""
    calls = 40
    argument = bytes(MEGABYTE)
    start = time.perf_counter()
    for _ in range(calls):
        pool.apply(echo, (argument,))
    return 2 * MEGABYTE * calls / (time.perf_counter() - start) / 1e9


def uneven(place):
    """Time divided by the best possible finish: see uneven.c, which runs the same lengths in the same order."""
    lengths = [0.001] * 500 + [0.010] * 500
    lengths.insert(500 if place == "middle" else 1000, 1.0)
    ends = [0.0] * WORKERS
    for length in lengths:
        ends[ends.index(min(ends))] += length

    def sample(pool):
        start = time.perf_counter()
        pool.map(sleep_until, lengths, 1)
        return (time.perf_counter() - start) / max(ends)

    return sample


def first_result(method):
    """Milliseconds from opening a pool to its first result."""
    context = multiprocessing.get_context(method)

    def sample(_pool):
        start = time.perf_counter()
        with context.Pool(WORKERS) as pool:
            pool.apply(nothing, (ARGUMENT,))
            elapsed = time.perf_counter() - start
        return elapsed * 1e3

    return sample


LINES = {
    "apply": apply,
    "apply_async": apply_async,
    "map-1": map_with(20_000, 1),
    "map-10": map_with(100_000, 10),
    "map-100": map_with(400_000, 100),
    "map-default": map_with(1_000_000, None),
    "megabyte": megabyte,
    "uneven-middle": uneven("middle"),
    "uneven-last": uneven("last"),
    "fork": first_result("fork"),
    "forkserver": first_result("forkserver"),
    "spawn": first_result("spawn"),
}


def main():
    name = sys.argv[1]
    if name == "--version":
        print(sys.version.split()[0])
        return
    sample = LINES[name]
    opens_itself = name in ("fork", "forkserver", "spawn")
    pool = None if opens_itself else multiprocessing.get_context("fork").Pool(WORKERS)
    if not name.startswith("uneven"):
        sample(pool)
    print("ready", flush=True)
    for _ in sys.stdin:
        print("value", sample(pool), flush=True)
    if pool:
        pool.terminate()
        pool.join()


if __name__ == "__main__":
    main()
