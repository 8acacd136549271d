"""What a worker prints and logs, sent to the client that asked to see it; muster/output.py is the other end."""

from __future__ import annotations

import io
import json
import logging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from muster.worker import Worker

TEXT_MAX = 32 << 10  # characters of a record or a line


class Forwarder(logging.Handler):
    """Sends the records of the running task's loggers to the client."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.worker = worker

    def emit(self, record: logging.LogRecord) -> None:
        task = self.worker.task
        if task is None:
            return
        fields = {
            name: getattr(record, name)
            for name in ("name", "levelno", "pathname", "lineno", "funcName", "created", "processName", "threadName")
        }
        fields["msg"] = record.getMessage()[:TEXT_MAX]
        fields["process"] = record.process
        if record.exc_info:
            fields["exc_text"] = logging.Formatter().formatException(record.exc_info)[:TEXT_MAX]
        level = 3 if record.levelno >= 40 else 4 if record.levelno >= 30 else 6 if record.levelno >= 20 else 7
        task.log(level, "\x01" + json.dumps(fields))


class Lines(io.TextIOBase):
    """sys.stdout or sys.stderr of a worker of a cluster, whose client asked to see them."""

    def __init__(self, worker: Worker, stream: int) -> None:
        self.worker, self.stream, self.rest = worker, stream, ""

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            self.send(line)
        return len(text)

    def finish(self) -> None:
        if self.rest:
            self.send(self.rest)
            self.rest = ""

    def send(self, line: str) -> None:
        if self.worker.task is not None:
            self.worker.task.log(6, "\x02" + json.dumps([self.stream, line[:TEXT_MAX]]))
