"""multiprocessing's longer example of a pool: every call, an error of each kind, timeouts, close and terminate.

Nothing but the import is not as it was written for multiprocessing.
"""

import random
import time

import muster as multiprocessing


def calculate(func, args):
    result = func(*args)
    return f"{multiprocessing.current_process().name} says that {func.__name__}{args} = {result}"


def calculatestar(args):
    return calculate(*args)


def mul(a, b):
    time.sleep(0.02 * random.random())
    return a * b


def plus(a, b):
    time.sleep(0.02 * random.random())
    return a + b


def f(x):
    return 1.0 / (x - 5.0)


def pow3(x):
    return x**3


def noop(x):
    pass


def numbers(pool):
    tasks = [(mul, (i, 7)) for i in range(10)] + [(plus, (i, 8)) for i in range(10)]
    results = [pool.apply_async(calculate, t) for t in tasks]
    imap_it = pool.imap(calculatestar, tasks)
    imap_unordered_it = pool.imap_unordered(calculatestar, tasks)

    print("Ordered results using pool.apply_async():")
    for r in results:
        print("\t", r.get())
    print("Ordered results using pool.imap():")
    for x in imap_it:
        print("\t", x)
    print("Unordered results using pool.imap_unordered():")
    for x in imap_unordered_it:
        print("\t", x)
    print("Ordered results using pool.map() --- will block till complete:")
    for x in pool.map(calculatestar, tasks):
        print("\t", x)


def errors(pool):
    print("Testing error handling:")
    for call in (
        lambda: pool.apply(f, (5,)),
        lambda: pool.map(f, list(range(10))),
        lambda: list(pool.imap(f, range(10))),
    ):
        try:
            print(call())
        except ZeroDivisionError:
            print("\tGot ZeroDivisionError as expected")
        else:
            raise AssertionError("expected ZeroDivisionError")

    it = pool.imap(f, list(range(10)))
    for i in range(10):
        try:
            next(it)
        except ZeroDivisionError:
            assert i == 5
        except StopIteration:
            break
    print("\tGot ZeroDivisionError as expected from IMapIterator.next()")


def timeouts(pool):
    print("Testing ApplyResult.get() with timeout:", end=" ")
    res = pool.apply_async(calculate, (noop, (1,)))
    while True:
        try:
            res.get(0.02)
            break
        except multiprocessing.TimeoutError:
            print(".", end="")
    print()

    print("Testing IMapIterator.next() with timeout:", end=" ")
    it = pool.imap(calculatestar, [(noop, (i,)) for i in range(3)])
    while True:
        try:
            it.next(0.02)
        except StopIteration:
            break
        except multiprocessing.TimeoutError:
            print(".", end="")
    print()


def test():
    processes = 4
    print(f"Creating pool with {processes} processes")
    with multiprocessing.Pool(processes) as pool:
        numbers(pool)
        errors(pool)
        timeouts(pool)
        assert pool.map(pow3, range(1000)) == [x**3 for x in range(1000)]

        print("Testing close and join:", end=" ")
        result = pool.map_async(pow3, range(10))
        pool.close()
        pool.join()
        print(result.get() == [x**3 for x in range(10)])


if __name__ == "__main__":
    multiprocessing.freeze_support()
    test()
