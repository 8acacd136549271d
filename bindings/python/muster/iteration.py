"""imap: reads an iterable only so far ahead of whoever takes the results."""

from __future__ import annotations

import collections
import contextlib
import itertools
import pickle
import queue
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing import TimeoutError
from typing import TYPE_CHECKING, Any

from muster import _muster, errors, reduction

if TYPE_CHECKING:
    from muster.pool import Pool

# Containers, which never wait for an item; any other iterable is read by a thread of its own.
SOLID = (list, tuple, range, set, frozenset, dict, str, bytes, bytearray, collections.deque)

# How many items are read ahead unless the user has said it: few at first, more while results are taken quickly, fewer
# if items or results are large; always at least two chunks a worker.
READ_AHEAD_FIRST, READ_AHEAD_MOST = 256, 16384
READ_AHEAD_BYTES = 64 << 20
LARGE_BYTES = 4096

TAKE_MAX = 256  # results that are unpickled at a time
QUICK_SECONDS = 50e-6  # a result: when they come faster, the consumer waits for QUICK_RESULTS of them, but no longer
QUICK_RESULTS = 128  # than NAP_SECONDS
NAP_SECONDS = 200e-6

_ITEMS = bytes((reduction.ITEMS,))
_loads = pickle.loads


class Feed:
    """What an imap reads, submits and has not delivered yet. It knows its iterator only weakly: an iterator that nobody
    holds any more lets its calls go on, as in multiprocessing, but nobody keeps their results."""

    def __init__(self, pool: Pool, entry: reduction.Entry, chunks: Iterator[Any], options: Any, window: int) -> None:
        self.pool = pool
        self.entry = entry
        self.chunks = chunks
        self.options = options
        self.least = self.most = self.window = window  # chunks submitted and not delivered
        self.low = window // 2  # reading goes on when there are no more than these
        self.quick = False  # results come so fast that waking up for each would cost more than they do
        self.pending: collections.deque[Any] = collections.deque()  # submitted, in order; an exception: the end
        self.finished: Any = None  # unordered: a queue of what is ready
        self.submitted = 0
        self.delivered = 0
        self.exhausted = False
        self.unbounded = False  # read on, whoever takes the results
        self.abandoned = False  # nobody takes them
        self.stopped = False
        self.bounded = False  # the user said how many
        self.threadless = True  # it is read in the consumer's thread
        self.live: set[Any] = set()  # unordered and bounded: what is not delivered yet
        self.changed = threading.Condition()  # re-entrant: a finalizer may come at any moment
        self.reading = threading.Lock()  # who holds it reads the iterable

    # -- reading

    def submit_one(self) -> bool:
        """Reads and submits one chunk; False: that was the end."""
        try:
            chunk = next(self.chunks, None)
            if chunk is None:
                return self.end(None)
            parts = self.pool._encoder.payload(self.entry, _ITEMS, chunk)
        except Exception as error:
            return self.end(error)
        options = self.options
        if type(parts) is reduction.ByValue:
            options = self.pool._bound(options)
        if len(parts) > 2 or len(parts[1]) > LARGE_BYTES:
            self.weigh(parts[1:])
        try:
            on_done = None if self.abandoned or self.finished is None else self.finished.put
            result = self.pool._muster.submit(self.entry.definition, parts, options, on_done)
        except _muster.Error as error:
            return self.end(self.pool._translate(error))
        if self.abandoned:
            return True
        self.submitted += 1
        if self.finished is None:
            self.pending.append(result)
        elif self.bounded:
            self.live.add(result)
        return True

    def end(self, error: BaseException | None) -> bool:
        if self.exhausted:
            return False
        if error is not None:
            self.pending.append(error)
        self.exhausted = True
        self.chunks = iter(())
        if self.finished is not None:
            self.finished.put(None)
        self.signal()
        self.pool._feed_ended(self)
        return False

    def room(self) -> bool:
        return self.unbounded or self.abandoned or self.submitted - self.delivered < self.window

    def fill(self) -> None:
        """In the consumer's thread: submits up to the window, once half of it is used up."""
        if self.exhausted or (self.submitted - self.delivered > self.low and not self.unbounded):
            return
        with self.reading:
            self.adapt()
            while not self.exhausted and not self.stopped and self.room() and self.submit_one():
                pass

    def run(self) -> None:
        """In a thread of its own."""
        with self.reading:
            while not self.stopped:
                if not self.room():
                    with self.changed:
                        self.changed.wait_for(
                            lambda: self.stopped or self.unbounded or self.abandoned or self.drained()
                        )
                    self.adapt()
                    continue
                if not self.submit_one():
                    return
                if self.submitted - self.delivered <= 1:
                    self.signal()
            self.end(None)

    def drained(self) -> bool:
        return self.submitted - self.delivered <= self.low

    # -- how far ahead

    def free(self, chunksize: int) -> None:
        """The user has not said how far."""
        self.least = self.window
        self.most = max(self.least, READ_AHEAD_MOST // chunksize)
        self.resize(READ_AHEAD_FIRST // chunksize)

    def resize(self, window: int) -> None:
        self.window = max(self.least, min(self.most, window))
        self.low = self.window // 2

    def adapt(self) -> None:
        if self.least < self.most:
            self.resize(self.window * 4 if self.quick else self.window // 2)

    def weigh(self, parts: Iterable[Any]) -> None:
        """An item or a result is large."""
        if self.least < self.most:
            size = sum(len(part) if isinstance(part, bytes) else part.nbytes for part in parts)
            self.most = max(self.least, min(self.most, READ_AHEAD_BYTES // size))
            self.resize(self.window)

    # -- what the iterator says

    def deliver(self, count: int) -> None:
        """So many results have been taken; the reader goes on when half of the window is free."""
        before = self.submitted - self.delivered
        self.delivered += count
        if not self.threadless and before > self.low >= before - count:
            self.signal()

    def give_back(self, results: list[Any]) -> None:
        if self.finished is None:
            self.pending.extendleft(reversed(results))
        else:
            for result in results:
                self.finished.put(result)

    # -- what others say

    def signal(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def finish(self) -> None:
        """Reads to the end whoever takes the results: the pool is being joined."""
        self.unbounded = True
        self.signal()
        self.fill()

    def wait(self) -> None:
        """Until all is read and submitted."""
        with self.changed:
            self.changed.wait_for(lambda: self.exhausted)

    def stop(self) -> None:
        """The pool is terminated."""
        self.stopped = True
        self.end(errors.cancelled(f"{self.entry.name} has no further results: its pool was terminated"))

    def abandon(self) -> None:
        """The iterator is gone. Its calls go on as in multiprocessing, unless the user had said how many there may be
        for which nobody asks."""
        self.abandoned = True
        if self.bounded:
            self.stopped = True
            for result in (*self.pending, *self.live):
                if not isinstance(result, BaseException):
                    result.cancel()
        self.pending.clear()
        if self.bounded and self.threadless:
            self.end(None)
        elif self.threadless and not self.exhausted:
            with contextlib.suppress(RuntimeError):  # the interpreter ends
                self.start()
        self.signal()

    def start(self) -> None:
        self.threadless = False
        threading.Thread(target=self.run, name=f"muster-imap-{self.entry.name}", daemon=True).start()


class IMapIterator:
    """The results of imap, one after the other. It keeps its pool alive."""

    def __init__(self, feed: Feed, bar: Any) -> None:
        self._feed = feed
        self._values: collections.deque[Any] = collections.deque()  # that are there, and next
        self._bar = bar
        self._taken = time.perf_counter()
        self._gone = weakref.finalize(self, feed.abandon)
        self._gone.atexit = False

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self._values.popleft() if self._values else self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result; multiprocessing.TimeoutError if it is not there after so many seconds."""
        feed = self._feed
        while not self._values:
            if feed.threadless:
                feed.fill()
            if feed.finished is None:
                self._take_ordered(timeout)
            else:
                self._take_unordered(timeout)
        return self._values.popleft()

    def close(self) -> None:
        """Gives up: cancels what is under way, and reads no further."""
        self._feed.bounded = True
        self._gone()

    # -- what is ready

    def _take_ordered(self, timeout: float | None) -> None:
        pending = self._feed.pending
        if not pending:
            self._wait_for_reader(timeout)
        head = pending[0]
        if isinstance(head, BaseException):
            pending.popleft()
            raise head
        if not head.ready():
            if self._feed.quick and timeout is None and len(pending) > QUICK_RESULTS:
                later = pending[QUICK_RESULTS]
                if not isinstance(later, BaseException):
                    later.wait(NAP_SECONDS)
            if not head.wait(timeout):
                raise self._late(timeout)
        taken: list[Any] = []
        most = 1 if self._feed.bounded else TAKE_MAX
        while pending and len(taken) < most:
            head = pending[0]
            if isinstance(head, BaseException) or not head.ready():
                break
            taken.append(pending.popleft())
        self._decode(taken)

    def _take_unordered(self, timeout: float | None) -> None:
        feed = self._feed
        if feed.exhausted and feed.submitted == feed.delivered:
            if feed.pending:
                raise feed.pending.popleft()
            self._over()
        if feed.quick and timeout is None and feed.finished.empty():
            time.sleep(NAP_SECONDS)
        try:
            taken = [feed.finished.get(timeout=timeout)]
        except queue.Empty:
            raise self._late(timeout) from None
        most = 1 if feed.bounded else TAKE_MAX
        with contextlib.suppress(queue.Empty):
            while len(taken) < most:
                taken.append(feed.finished.get_nowait())
        if feed.bounded:
            feed.live.difference_update(taken)
        self._decode([result for result in taken if result is not None])

    def _decode(self, taken: list[Any]) -> None:
        """Unpickles results. One that failed is raised if it is the first, and otherwise left for the next time."""
        feed, values = self._feed, self._values
        before = len(values)
        done = 0
        try:
            for result in taken:
                parts = result.parts()
                if parts is None:
                    raise errors.from_task(result.failure(), feed.entry.name)
                if done == 0 and (len(parts) > 1 or parts[0].nbytes > LARGE_BYTES):
                    feed.weigh(parts)
                values.extend(_loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:]))
                done += 1
        except BaseException:
            if done == 0:
                done = 1
                raise
        finally:
            feed.give_back(taken[done:])
            feed.deliver(done)
            self._note(done)
            if self._bar is not None:
                self._bar.update(len(values) - before)

    def _note(self, count: int) -> None:
        now = time.perf_counter()
        self._feed.quick = now - self._taken < count * QUICK_SECONDS
        self._taken = now

    def _wait_for_reader(self, timeout: float | None) -> None:
        """Until the next item is submitted; StopIteration at the end."""
        feed = self._feed
        with feed.changed:
            if not feed.changed.wait_for(lambda: feed.pending or feed.exhausted, timeout):
                raise self._late(timeout)
        if not feed.pending:
            self._over()

    def _late(self, timeout: float | None) -> Exception:
        return TimeoutError(f"the next result of {self._feed.entry.name} is not there after {timeout} s")

    def _over(self) -> None:
        self._gone.detach()
        if self._bar is not None:
            self._bar.close()
        raise StopIteration


def chunks_of(iterable: Iterable[Any], size: int) -> Iterator[Any]:
    """Tuples of so many items."""
    return iter(zip(iterable)) if size == 1 else _chunks_of(iter(iterable), size)


def _chunks_of(iterator: Iterator[Any], size: int) -> Iterator[Any]:
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk
