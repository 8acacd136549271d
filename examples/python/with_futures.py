"""concurrent.futures: the example of its manual, with the other import."""

import concurrent.futures
import math

from muster.futures import ProcessPoolExecutor

PRIMES = [112272535095293, 112582705942171, 112272535095293, 115280095190773, 115797848077099, 1099726899285419]


def is_prime(n):
    if n < 2:
        return False
    if n == 2:
        return True
    if n % 2 == 0:
        return False
    sqrt_n = int(math.floor(math.sqrt(n)))
    return all(n % i != 0 for i in range(3, min(sqrt_n, 100_000) + 1, 2))


def main():
    with ProcessPoolExecutor() as executor:
        for number, prime in zip(PRIMES, executor.map(is_prime, PRIMES)):
            print(f"{number} has no small factor: {prime}")

        futures = {executor.submit(pow, 2, n): n for n in (8, 16, 32)}
        for future in concurrent.futures.as_completed(futures):
            print(f"2 ** {futures[future]} = {future.result()}")


if __name__ == "__main__":
    main()
