"""A batch of text files: the words of each are counted in a worker, the sums are made here, as results come.

usage: batch.py [DIRECTORY]         default: the directory of this program

A file that cannot be read is reported and does not end the batch; one that takes more than ten seconds is given up.
"""

import collections
import pathlib
import re
import sys

import muster

WORD = re.compile(rb"[A-Za-z]{4,}")


def count_words(path):
    return path.name, collections.Counter(word.decode().lower() for word in WORD.findall(path.read_bytes()))


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
    directory = directory if directory.is_dir() else directory.parent
    paths = [path for path in sorted(directory.iterdir()) if path.is_file()]
    paths.append(directory / "is not there")
    total = collections.Counter()
    with muster.Pool() as pool:
        results = [(path, pool.apply_async(count_words, (path,), timeout=10, retries=1)) for path in paths]
        for path, result in results:
            try:
                name, words = result.get()
            except (OSError, muster.TimeoutError) as error:
                print(f"{path.name}: {error}")
                continue
            total += words
            print(f"{name}: {sum(words.values())} words")
    print("most frequent:", ", ".join(f"{word} ({count})" for word, count in total.most_common(5)))


if __name__ == "__main__":
    main()
