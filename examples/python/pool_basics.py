"""The first program of multiprocessing's manual, and the next two: Pool.map, apply and its relatives.

Nothing but the import is not as it was written for multiprocessing.
"""

import os
import time

import muster as multiprocessing
from muster import Pool, TimeoutError


def f(x):
    return x * x


def main():
    with Pool(5) as p:
        print(p.map(f, [1, 2, 3]))

    # start 4 worker processes
    with Pool(processes=4) as pool:
        # print "[0, 1, 4,..., 81]"
        print(pool.map(f, range(10)))

        # print same numbers in arbitrary order
        for i in pool.imap_unordered(f, range(10)):
            print(i, end=" ")
        print()

        # evaluate "f(20)" asynchronously
        res = pool.apply_async(f, (20,))  # runs in *only* one process
        print(res.get(timeout=10))  # prints "400"

        # evaluate "os.getpid()" asynchronously
        res = pool.apply_async(os.getpid, ())  # runs in *only* one process
        print(res.get(timeout=10) != os.getpid())  # prints True: the PID of a worker

        # launching multiple evaluations asynchronously *may* use more processes
        multiple_results = [pool.apply_async(os.getpid, ()) for i in range(4)]
        print(len({res.get(timeout=10) for res in multiple_results}), "or fewer worker processes")

        # make a single worker sleep for 10 seconds
        res = pool.apply_async(time.sleep, (10,))
        try:
            print(res.get(timeout=0.1))
        except TimeoutError:
            print("We lacked patience and got a multiprocessing.TimeoutError")

        print("For the moment, the pool remains available for more work")

    # exiting the 'with'-block has stopped the pool
    print("Now the pool is closed and no longer available")
    print(f"{multiprocessing.cpu_count()} CPUs, start method {multiprocessing.get_start_method()}")


if __name__ == "__main__":
    main()
