"""imap: reads an iterable only so far ahead of whoever takes the results."""

from __future__ import annotations

import collections
import contextlib
import itertools
import pickle
import queue
import threading
import weakref
from collections.abc import Iterable, Iterator
from multiprocessing import TimeoutError
from typing import TYPE_CHECKING, Any

from muster import _muster, errors, reduction

if TYPE_CHECKING:
    from muster.pool import Pool

# Containers, which never wait for an item; any other iterable is read by a thread of its own.
SOLID = (list, tuple, range, set, frozenset, dict, str, bytes, bytearray, collections.deque)

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
        self.window = window
        self.low = window // 2
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
        try:
            on_done = None if self.abandoned or self.finished is None else self.finished.put
            result = self.pool._muster.submit(self.entry.definition, parts, self.options, on_done)
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
                    continue
                if not self.submit_one():
                    return
                if self.submitted - self.delivered <= 1:
                    self.signal()
            self.end(None)

    def drained(self) -> bool:
        return self.submitted - self.delivered <= self.low

    # -- the other threads' words

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

    def __init__(self, feed: Feed, chunked: bool, bar: Any) -> None:
        self._feed = feed
        self._chunk: Iterator[Any] = iter(())
        self._bar = bar
        self._gone = weakref.finalize(self, feed.abandon)
        self._gone.atexit = False

    def __iter__(self) -> IMapIterator:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        for value in self._chunk:
            if self._bar is not None:
                self._bar.update()
            return value
        while True:
            self._chunk = iter(self._next_chunk(timeout))
            for value in self._chunk:
                if self._bar is not None:
                    self._bar.update()
                return value

    def close(self) -> None:
        """Gives up: cancels what is under way, and reads no further."""
        self._feed.bounded = True
        self._gone()

    # -- chunks

    def _next_chunk(self, timeout: float | None) -> Any:
        feed = self._feed
        if feed.threadless:
            feed.fill()
        result = self._next_result(timeout)
        feed.delivered += 1
        if not feed.threadless and feed.submitted - feed.delivered == feed.low:
            feed.signal()
        parts = result.parts()
        if parts is None:
            raise errors.from_task(result.failure(), feed.entry.name)
        return _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:])

    def _next_result(self, timeout: float | None) -> Any:
        feed = self._feed
        if feed.finished is not None:
            return self._next_finished(timeout)
        if not feed.pending:
            self._wait_for_reader(timeout)
        result = feed.pending[0]
        if isinstance(result, BaseException):
            feed.pending.popleft()
            raise result
        if not result.wait(timeout):
            raise TimeoutError(f"the next result of {feed.entry.name} is not there after {timeout} s")
        feed.pending.popleft()
        return result

    def _wait_for_reader(self, timeout: float | None) -> None:
        """Until the next item is submitted; StopIteration at the end."""
        feed = self._feed
        with feed.changed:
            if not feed.changed.wait_for(lambda: feed.pending or feed.exhausted, timeout):
                raise TimeoutError(f"no next item for {feed.entry.name} was read after {timeout} s")
        if not feed.pending:
            self._over()

    def _next_finished(self, timeout: float | None) -> Any:
        feed = self._feed
        while True:
            if feed.exhausted and feed.submitted == feed.delivered:
                if feed.pending:
                    raise feed.pending.popleft()
                self._over()
            try:
                result = feed.finished.get(timeout=timeout)
            except queue.Empty:
                raise TimeoutError(f"no result of {feed.entry.name} is there after {timeout} s") from None
            if result is not None:
                feed.live.discard(result)
                return result

    def _over(self) -> None:
        self._gone.detach()
        if self._bar is not None:
            self._bar.close()
        raise StopIteration


def chunks_of(iterable: Iterable[Any], size: int) -> Iterator[Any]:
    iterator = iter(iterable)
    if size == 1:
        for item in iterator:
            yield (item,)
        return
    while chunk := tuple(itertools.islice(iterator, size)):
        yield chunk
