"""What workers print, log and report, shown in the client's process."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Any


def show_output(stream: int, worker: str, line: bytes) -> None:
    file = sys.stdout if stream == 1 else sys.stderr
    if file is not None:
        print(line.decode(errors="backslashreplace"), file=file, flush=True)


def show_log(level: int, worker: str, text: str) -> None:
    """A record of a worker's loggers, a line that it printed, or what a task of another language logged."""
    if text.startswith("\x02"):
        stream, line = json.loads(text[1:])
        show_output(stream, worker, line.encode(errors="surrogateescape"))
        return
    if text.startswith("\x01"):
        record = logging.makeLogRecord(json.loads(text[1:]))
    else:
        number = {3: logging.ERROR, 4: logging.WARNING, 7: logging.DEBUG}.get(level, logging.INFO)
        record = logging.makeLogRecord({"name": "muster.task", "levelno": number, "msg": text})
    record.levelname = logging.getLevelName(record.levelno)
    record.worker = worker
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def progress_bar(total: int | None, name: str) -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs the package tqdm: pip install tqdm") from None
    return tqdm(total=total, desc=name)


def progressing(bar: Any, count: int, then: Callable[[Any], None] | None) -> Callable[[Any], None]:
    def done(result: Any) -> None:
        bar.update(count)
        if bar.total is not None and bar.n >= bar.total:
            bar.close()
        if then is not None:
            then(result)

    return done
