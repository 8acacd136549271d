"""As one works in a notebook or at a prompt: functions that were just typed, globals that change between two cells.

usage: paste it, cell by cell, or run python3 < notebook.py

There is no `if __name__ == "__main__"`: what was typed has no file that a worker could load, so functions go by value,
and their globals with them. The pool is opened once, before the functions are there.
"""

# %% the pool
import muster

pool = muster.Pool(2)

# %% a function, and a global
scale = 10


def scaled(x):
    return x * scale


print(pool.map(scaled, range(5)))

# %% the global is changed, and the function in the workers knows it
scale = 100
print(pool.map(scaled, range(5)))

# %% lambdas and closures
offset = 7
print(pool.map(lambda x: x + offset, range(5)))


def power(exponent):
    return lambda x: x**exponent


print([pool.map(power(exponent), range(5)) for exponent in (2, 3)])

# %% an error shows where it happened, in the worker
try:
    pool.apply(lambda: {}["nothing"])
except KeyError as error:
    print("KeyError", error, "raised in a worker:", "lambda" in str(error.__cause__))

# %% the end
pool.terminate()
pool.join()
