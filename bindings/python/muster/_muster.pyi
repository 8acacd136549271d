"""The extension: libmuster for Python. Statuses are the negative MUSTER_E... numbers of muster.h.

Buffers are anything with the buffer protocol. Time-outs are seconds, None: without limit. Whatever waits releases the
GIL, and in the main thread lets Python's signal handlers run (KeyboardInterrupt ends the wait).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, final

from typing_extensions import Buffer

class Error(Exception):
    """A muster function failed: args are (status, detail)."""

class TaskStopped(BaseException):
    """Raised in a worker's main thread, once for a task, when the task is to stop: it was cancelled, or is over its
    time limit. Task.cancelled() is true from then on."""

class Failure(NamedTuple):
    """Why a call failed: struct muster_error, with what the worker's language added."""

    status: int
    kind: str
    message: str
    traceback: str
    function: str
    worker: str
    host: str
    pid: int
    signal: int
    exit_status: int
    value: bytes | None  # the pickled exception, if the worker was a Python one
    item: int  # which call: its index

@final
class Pool:
    """One muster_pool. Every method may be called from any thread. In a forked child each raises Error(EINVAL)."""

    def __init__(
        self,
        url: str,
        *,
        authkey_file: str | None = None,
        connect_timeout: float = 0,
        window: int = 0,
        on_output: Callable[[int, str, bytes], None] | None = None,
        on_log: Callable[[int, str, str], None] | None = None,
        # of local pools
        fork_server: Sequence[str] | None = None,
        initializer: str | None = None,
        initializer_payload: Buffer | None = None,
        max_tasks: int = 0,
        labels: Sequence[str] = (),
        memory_limit: int = 0,
        payload_limit: int = 0,
        raw_output: bool = False,
        plugins: Sequence[str] = (),
        exec: bool = False,
    ) -> None: ...
    def define(self, function: str, body: Buffer = b"", labels: Sequence[str] = ()) -> Definition:
        """What calls name. The same content gives the same definition."""

    def submit(
        self,
        definition: Definition,
        parts: Sequence[Buffer],
        options: Options | None = None,
        on_done: Callable[[Result], None] | None = None,
    ) -> Result:
        """One call. `parts` are the binaries of one msgpack array, the payload. `on_done` runs in the pool's callback
        thread when the outcome is there; what it raises goes to sys.unraisablehook."""

    def submit_raw(
        self,
        definition: Definition,
        payload: Buffer,
        options: Options | None = None,
        on_done: Callable[[Result], None] | None = None,
    ) -> Result:
        """The same with a whole msgpack payload: an array of the positional arguments."""

    def submit_many(
        self,
        definition: Definition,
        calls: Sequence[Sequence[Buffer]],
        options: Options | None = None,
        on_done: Callable[[Result], None] | None = None,
    ) -> Result:
        """One result for all: Result.parts(i) is that of call i. One call to C for all of them."""

    def close(self) -> None: ...
    def terminate(self) -> None: ...
    def join(self, timeout: float | None = None) -> bool: ...
    def free(self) -> None: ...
    def workers(self) -> int: ...
    def stats(self) -> dict[str, int]: ...
    def status(self, timeout: float | None = None) -> str: ...

@final
class Definition: ...

@final
class Options:
    """struct muster_options, made once and used for many calls."""

    def __init__(
        self,
        *,
        time_limit: float = 0,
        grace: float = 0,
        retries: int = 0,
        retry_lost_only: bool = False,
        priority: int = 0,
        labels: Sequence[str] = (),
        nonblock: bool = False,
    ) -> None: ...

@final
class Result:
    """One muster_result; exports the memory of its parts, which lives as long as anything refers to it."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def ready(self) -> bool: ...
    def successful(self) -> bool: ...
    def cancel(self) -> None: ...
    def add_done(self, on_done: Callable[[Result], None]) -> None:
        """Calls it in the pool's callback thread when the outcome is there; if it is there already, at once in this
        thread. Several may be added; what they raise goes to sys.unraisablehook."""

    def fileno(self) -> int: ...
    def __len__(self) -> int: ...
    def parts(self, index: int = 0) -> list[memoryview] | None:
        """The binaries of the payload of call `index`, without copying; None if it failed. The memory may be written
        to."""

    def raw(self, index: int = 0) -> memoryview | None:
        """The whole payload (one msgpack value)."""

    def failure(self, index: int = -1) -> Failure | None:
        """Why call `index` failed; -1: the first failure."""

@final
class Task:
    """The task that runs in this worker process."""

    function: str
    worker: str
    def parts(self) -> list[memoryview]:
        """The binaries of the payload. What refers to them after the task keeps their memory (it is copied then)."""

    def raw(self) -> memoryview: ...
    def body(self) -> bytes: ...
    def definition(self) -> int:
        """A number that stands for the definition as long as this worker lives: a key for what was made of its body."""

    def fail(self, kind: str, message: str, traceback: str, value: Buffer | None) -> None: ...
    def progress(self, done: float, total: float, text: str | None) -> None: ...
    def log(self, level: int, text: str) -> None: ...
    def cancelled(self) -> bool: ...

def serve_forks(fd: int) -> int:
    """The fork server's loop: forks a worker for each request that comes by the socket `fd`, and returns, in the child,
    the descriptor of its hand-over. Ends the process when the socket does."""

def serve(
    launch_fd: int, functions: Sequence[str], call: Callable[[Task], Sequence[Buffer] | Buffer | None]
) -> NoReturn:
    """The worker's loop, in the main thread: `call` runs each task and gives the parts of its result, a list, or the
    whole payload (a bytes-like object), or None after Task.fail(). What it raises is the task's failure. The
    initializer is a call too, of a task without a body. Never returns: when the worker is to end in good order
    (drained, replaced), Python is finalized as at the end of any program (threads are waited for, atexit runs, streams
    are written), and the process ends."""
@final
class Supervisor:
    """Workers for the musterd at `url`, as the program muster-worker runs them."""

    def __init__(
        self,
        url: str,
        count: int,
        *,
        fork_server: Sequence[str],
        labels: Sequence[str] = (),
        authkey_file: str | None = None,
        max_tasks: int = 0,
        memory_limit: int = 0,
    ) -> None: ...
    def run(self) -> int:
        """Until SIGTERM or SIGINT (drain), or a second one (end at once). The exit status."""

def cpus() -> int: ...
def last_error() -> str: ...
def strerror(status: int) -> str: ...

VERSION: str

EINVAL: int
ENOMEM: int
EAGAIN: int
ETIMEDOUT: int
ECANCELED: int
ELOST: int
ETASK: int
ENOFUNCTION: int
ECLOSED: int
ELIMIT: int
EPROTOCOL: int
EVERSION: int
EAUTH: int
ECONNECT: int
EURL: int
EPLUGIN: int
ESYSTEM: int
ETYPE: int
EENCODING: int
EWORKERS: int
EINTERNAL: int
