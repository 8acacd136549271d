"""asyncio: results as they come, in an event loop.

`await pool.apply_async(...)` and `await pool.map_async(...)` are of the results themselves (results.py); this is
`async for result in pool.aimap(...)`.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
from collections import deque
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any

from muster import _muster, errors, reduction
from muster.iteration import READ_AHEAD_FIRST, chunks_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from muster.pool import Pool

_ITEMS = bytes((reduction.ITEMS,))
_loads = pickle.loads


def aimap(
    pool: Pool,
    func: Callable[[Any], Any],
    iterable: Iterable[Any] | AsyncIterator[Any],
    chunksize: int = 1,
    *,
    buffersize: int | None = None,
    timeout: float | None = None,
    retries: int = 0,
    priority: int = 0,
    labels: Iterable[str] = (),
) -> AsyncIterator[Any]:
    """The results for the items, in their order, for `async for`.

    At most `buffersize` items (default: 256) are read ahead of the results that were taken. An ordinary iterable is
    read in the event loop's thread: one that takes its time should be asynchronous. When the iteration is given up or
    its task is cancelled, the calls without a result are cancelled.
    """
    pool._check_running()
    if chunksize < 1:
        raise ValueError(f"Chunksize must be 1+, not {chunksize!r}")
    if buffersize is not None and (not isinstance(buffersize, int) or buffersize < 1):
        raise ValueError(f"buffersize must be a positive int or None, not {buffersize!r}")
    entry = pool._encoder.entry(func)
    options = pool._options(timeout, retries, priority, tuple(labels))
    chunks = _chunks(iterable, chunksize) if hasattr(iterable, "__aiter__") else _read(chunks_of(iterable, chunksize))
    ahead = max(2 * pool._width(), READ_AHEAD_FIRST // chunksize) if buffersize is None else -(-buffersize // chunksize)
    return _iterate(pool, entry, options, chunks, ahead)


async def _read(chunks: Iterable[Any]) -> AsyncIterator[Any]:
    for chunk in chunks:
        yield chunk


async def _chunks(iterable: Any, size: int) -> AsyncIterator[Any]:
    chunk: list[Any] = []
    async for item in iterable:
        chunk.append(item)
        if len(chunk) == size:
            yield tuple(chunk)
            chunk = []
    if chunk:
        yield tuple(chunk)


async def _iterate(
    pool: Pool, entry: reduction.Entry, options: Any, chunks: AsyncIterator[Any], ahead: int
) -> AsyncIterator[Any]:
    pending: deque[Any] = deque()
    loop = asyncio.get_running_loop()
    reading: asyncio.Task[bool] | None = None
    changed = asyncio.Event()

    async def fill() -> bool:
        """Submits what there is room for; False: that was the end."""
        while len(pending) < ahead:
            try:
                chunk = await chunks.__anext__()
            except StopAsyncIteration:
                return False
            parts = pool._encoder.payload(entry, _ITEMS, chunk)
            try:
                pending.append(pool._muster.submit(entry.definition, parts, options))
            except _muster.Error as error:
                raise pool._translate(error) from None
            changed.set()
        return True

    more = True
    try:
        while True:
            if reading is not None and reading.done() and not (pending and reading.exception()):
                more = reading.result()
                reading = None
            if more and reading is None and len(pending) <= ahead // 2:
                reading = loop.create_task(fill())
                reading.add_done_callback(lambda _: changed.set())
            if not pending:
                if reading is None:
                    return
                changed.clear()
                await changed.wait()
                continue
            if not pending[0].ready():
                await _until_ready(pending[0], loop)
            result = pending.popleft()
            parts = result.parts()
            if parts is None:
                raise errors.from_task(result.failure(), entry.name)
            for value in _loads(parts[0]) if len(parts) == 1 else _loads(parts[0], buffers=parts[1:]):
                yield value
    finally:
        for result in pending:
            result.cancel()
        if reading is not None and not reading.done():
            reading.cancel()


async def _until_ready(result: Any, loop: asyncio.AbstractEventLoop) -> None:
    ready = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    def done(_: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(wake)

    result.add_done(done)
    await ready
