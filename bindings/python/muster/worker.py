"""What a Python worker does with a call; and, as `python -m muster.worker`, the workers of one host for a musterd.

A worker serves several clients in turn (a local pool's serves one). What belongs to a client is kept in a Client: its
main module, the namespaces of what came by value, the callables that its definitions stand for. While a task of a
client runs, sys.modules["__main__"] is that client's main module, so that pickles find there what they name.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import pickle
import signal
import sys
import types
from multiprocessing import process

from muster import _muster, reduction, tasks

TYPE_CHECKING = False  # the fork server imports this: what is not always needed comes when it is
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

    from muster.forwarding import Forwarder, Lines

CLIENTS_MAX = 64  # that a worker remembers; the one that it has not heard of for longest goes first
CALLABLES_MAX = 4096  # definitions that it remembers, of all clients together

_HERE = __file__
_MEMORY_ERROR = pickle.dumps(MemoryError("memory ran out in the worker"), reduction.PROTOCOL)

loading_main = False  # while the client's main module is being loaded, no pool can be opened


# --- clients ----------------------------------------------------------------------------------------------------------


class Client:
    """One pool that uses this worker, and what its functions share."""

    def __init__(self, told: dict[str, Any]) -> None:
        self.told = told
        self.modules: dict[str, types.ModuleType] = {}
        self.main: types.ModuleType | None = None
        self.failure: BaseException | None = None  # of its initializer
        self.initialized = "initializer" not in told
        self.forward: bool = told.get("forward", False)

    def find_space(self, name: str, importable: bool) -> dict[str, Any]:
        """The globals of a module for functions that came by value."""
        if name in ("__main__", "__mp_main__"):
            return self.main_module().__dict__
        if importable:
            try:
                return importlib.import_module(name).__dict__
            except ModuleNotFoundError as error:
                why = f"{error} ({_advice(name)})"
                return {"__name__": name, reduction.MISSING_MODULE: ModuleNotFoundError(why, name=error.name)}
        if name not in self.modules:
            self.modules[name] = types.ModuleType(name)
        return self.modules[name].__dict__

    def main_module(self) -> types.ModuleType:
        if self.main is None:
            self.main = types.ModuleType("__main__")
            main = self.told.get("main")
            if main is not None:
                _load_main(self.main, main)
        return self.main


def _advice(module: str) -> str:
    return (
        f"a worker on {os.uname().nodename} cannot import {module}: make it importable there, or send it by value with "
        f"cloudpickle.register_pickle_by_value({module})"
    )


def _main_code(module: types.ModuleType, main: reduction.Main) -> Any:
    """The code of the client's main module, from its file here or else from the text that came with it."""
    import importlib.machinery
    import importlib.util
    import linecache

    content = None
    with contextlib.suppress(OSError), open(main.path, "rb") as file:
        content = file.read()
    here = content is not None and (not main.source or content == main.source)
    if here and os.path.dirname(main.path) not in sys.path:
        sys.path.append(os.path.dirname(main.path))
    if main.name and here:
        spec = importlib.util.find_spec(main.name)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            module.__spec__, module.__package__ = spec, spec.parent
            return spec.loader.get_code(main.name)
    if not here:
        if not main.source:
            raise FileNotFoundError(f"the client's main module {main.path} cannot be read by a worker")
        content = main.source
        text = importlib.util.decode_source(main.source)
        linecache.cache[main.path] = (len(text), None, text.splitlines(True), main.path)
    module.__package__ = main.name.rpartition(".")[0] if main.name else None
    return compile(content or b"", main.path, "exec", dont_inherit=True)


def _load_main(module: types.ModuleType, main: reduction.Main) -> None:
    global loading_main
    module.__name__ = "__mp_main__"
    module.__file__ = main.path
    before = {name: sys.modules.get(name) for name in ("__main__", "__mp_main__")}
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    loading_main = True
    try:
        exec(_main_code(module, main), module.__dict__)
    except BaseException:
        for name, old in before.items():
            if old is not None:
                sys.modules[name] = old
        raise
    finally:
        loading_main = False


def refuse_while_loading() -> None:
    if loading_main:
        raise RuntimeError(
            "a pool was opened while a worker loaded the main module: the workers load it to find its functions, so "
            'what it does only as a program belongs under `if __name__ == "__main__":`'
        )


# --- results ----------------------------------------------------------------------------------------------------------


def _format(error: BaseException) -> str:
    """The traceback, without the worker's own frames at its top."""
    import traceback

    trace = error.__traceback__
    if trace is None:
        return ""
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename == _HERE:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _ended(error: BaseException) -> tuple[str, str] | None:
    """Kind and message for exceptions that, raised in the caller, would end its process."""
    if isinstance(error, SystemExit):
        return "SystemExit", f"the task called sys.exit({'' if error.code is None else repr(error.code)})"
    if isinstance(error, (KeyboardInterrupt, GeneratorExit)):
        return type(error).__name__, str(error) or "raised in the task"
    if isinstance(error, _muster.TaskStopped):
        return "TaskStopped", str(error)
    return None


def _encoding_error(reason: BaseException, value: Any) -> BaseException:
    from multiprocessing import pool

    make: Any = pool.MaybeEncodingError  # type: ignore[attr-defined]
    error: BaseException
    try:
        error = make(reason, value)
    except Exception:  # repr() of the value raised
        error = make(reason, type(value))
    return error


# --- the worker -------------------------------------------------------------------------------------------------------


class Worker:
    """This process. `named` are functions by the names under which workers offer them; a text says where one is."""

    def __init__(self, named: dict[str, Any]) -> None:
        self.named = named
        self.clients: dict[bytes, Client] = {}
        self.client: Client | None = None  # whose main module is in place
        self.callables: dict[int, tuple[Client, Any, bool]] = {}  # by Task.definition(); the last: came by value
        self.task: _muster.Task | None = None
        self.handler: Forwarder | None = None
        self.streams: list[Lines] = []
        self.original_main = sys.modules["__main__"]

    def call(self, task: _muster.Task) -> Any:
        self.task = task
        try:
            return self.run_python(task) if task.function == "python" else self.run_named(task)
        finally:
            self.task = None
            if self.streams:
                for stream in self.streams:
                    stream.finish()
            else:  # what a task printed is seen even if the worker is killed next
                try:
                    sys.stdout.flush()
                    sys.stderr.flush()
                except Exception:  # closed by the task, or nobody reads it
                    pass

    # -- calls from Python

    def run_python(self, task: _muster.Task) -> Any:
        by_value = False
        try:
            parts = task.parts()
            kind = parts[0][0]
            if kind == reduction.INITIALIZE:
                return self.initialize_local(parts)
            client, function, by_value = self.callables.get(task.definition()) or self.define(task)
            if client is not self.client:
                self.enter(client)
            if client.failure is not None:
                raise client.failure
            content = pickle.loads(parts[1]) if len(parts) == 2 else pickle.loads(parts[1], buffers=parts[2:])
            del parts
            if kind & reduction.WITH_CALLABLE:
                function, content = content
                kind &= ~reduction.WITH_CALLABLE
            if kind == reduction.CALL:
                value = function(*content[0], **content[1])
            elif kind == reduction.ITEMS:
                value = list(map(function, content))
            else:
                value = list(itertools.starmap(function, content))
        except BaseException as error:
            return self.fail(task, error, by_value)
        try:
            if by_value:
                return self.encode(value, by_value)
            buffers: list[Any] = []
            data = pickle.dumps(value, reduction.PROTOCOL, buffer_callback=buffers.append)
            return reduction.encode(value) if buffers else (data,)
        except BaseException as error:
            return self.fail(task, _encoding_error(error, value), by_value)

    @staticmethod
    def encode(value: Any, by_value: bool) -> list[Any]:
        if not by_value:
            return reduction.encode(value)
        try:
            return reduction.encode(value)
        except (pickle.PicklingError, AttributeError, TypeError):
            return reduction.encode_by_value(value)

    def define(self, task: _muster.Task) -> tuple[Client, Any, bool]:
        body = task.body()
        if not body:
            raise RuntimeError("a call of the function `python` came without its definition")
        name, preamble, how, content = pickle.loads(body)
        client = self.clients.pop(name, None)
        if client is None:
            if not preamble:
                raise RuntimeError("a definition came from a client that this worker does not know")
            client = Client(pickle.loads(preamble))
        self.clients[name] = client  # now the last to be forgotten
        while len(self.clients) > CLIENTS_MAX:
            self.forget(next(iter(self.clients)))
        self.enter(client)
        if not client.initialized:
            self.initialize_client(client)
        function: Any = None
        if how == reduction.REFERENCE:
            function = self.find(*content)
        elif how == reduction.VALUE:
            function = pickle.loads(content)
        if len(self.callables) >= CALLABLES_MAX:
            self.callables.clear()
        entry = self.callables[task.definition()] = client, function, how != reduction.REFERENCE
        return entry

    def forget(self, name: bytes) -> None:
        client = self.clients.pop(name)
        self.callables = {number: entry for number, entry in self.callables.items() if entry[0] is not client}

    @staticmethod
    def find(module: str, name: str) -> Any:
        try:
            found: Any = sys.modules[module] if module == "__main__" else importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"{error} ({_advice(module)})", name=error.name) from None
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def enter(self, client: Client) -> None:
        """Puts the client's main module in place, and what it wants to see of our output."""
        reduction.space_finder = client.find_space
        self.client = None
        sys.modules["__main__"] = sys.modules["__mp_main__"] = client.main_module()
        self.client = client
        if client.forward or self.handler is not None:
            self.forward(client)

    def forward(self, client: Client) -> None:
        """Records go to this client if it wants them; what is printed does so too, if it does not see our stdout."""
        import logging

        from muster import forwarding

        root = logging.getLogger()
        if self.handler is not None:
            root.removeHandler(self.handler)
            self.handler = None
        if self.streams:
            self.streams = []
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        if not client.forward:
            return
        self.handler = forwarding.Forwarder(self)
        root.addHandler(self.handler)
        root.setLevel(client.told["log_root"])
        if client.told["remote"]:
            self.streams = [forwarding.Lines(self, 1), forwarding.Lines(self, 2)]
            sys.stdout, sys.stderr = self.streams

    # -- initializers

    def initialize_local(self, parts: list[memoryview]) -> Any:
        """The worker of a local pool is told of its one client, and runs the initializer."""
        name, told = pickle.loads(parts[1])
        assert self.task is not None
        prepare(told, self.task.worker)
        client = self.clients[name] = Client(told)
        self.enter(client)
        if not client.initialized:
            self.run_initializer(*told["initializer"])
            client.initialized = True
        return [pickle.dumps(None)]

    def initialize_client(self, client: Client) -> None:
        client.initialized = True
        try:
            self.run_initializer(*client.told["initializer"])
        except Exception as error:
            client.failure = RuntimeError(f"the pool's initializer failed: {type(error).__name__}: {error}")
            client.failure.__cause__ = error

    def run_initializer(self, how: int, content: Any, arguments: bytes | str) -> None:
        function = self.find(*content) if how == reduction.REFERENCE else pickle.loads(content)
        if isinstance(arguments, str):  # the name of a file
            with open(arguments, "rb") as file:
                given = pickle.load(file)
        else:
            given = pickle.loads(arguments)
        function(*given)

    # -- calls from other languages

    def run_named(self, task: _muster.Task) -> Any:
        try:
            function = self.named[task.function]
            if isinstance(function, str):
                function = self.named[task.function] = self.find(*function.split(":"))
            arguments = tasks.unpack(task.raw())
            value = function(*arguments)
            return tasks.pack(value, f"the result of {task.function}")
        except BaseException as error:
            return self.fail(task, error, False)

    # -- failures

    def fail(self, task: _muster.Task, error: BaseException, by_value: bool) -> Any:
        ended = _ended(error)
        if ended:
            task.fail(ended[0], _plain(ended[1]), _plain(_format(error)), None)
            return None
        try:
            trace = _plain(_format(error))
            kind = _plain(type(error).__qualname__)[:60]
            message = _message(error)
        except MemoryError:
            task.fail("MemoryError", "memory ran out in the worker", "", _MEMORY_ERROR)
            return None
        try:
            value = reduction.encode_alone(error, by_value)
        except Exception as reason:
            value = pickle.dumps(_encoding_error(reason, error), reduction.PROTOCOL)
        task.fail(kind, message, trace, value)
        return None


def _message(error: BaseException) -> str:
    try:
        return _plain(str(error))
    except Exception as reason:
        return f"(its message cannot be had: {type(reason).__name__})"


def _plain(text: str) -> str:
    """Text that C and every other language can take."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


# --- the process ------------------------------------------------------------------------------------------------------


def prepare(told: dict[str, Any], worker: str) -> None:
    """Makes this process look as one that multiprocessing has started: what is told is what `spawn` tells."""
    current: Any = process.current_process()
    slot = worker.rpartition("/")[2]
    number = int(slot) + 1 if slot.isdigit() else os.getpid()
    current._identity = (number,)
    current._name = f"{told['method']}PoolWorker-{number}"
    current.authkey = told["authkey"]
    with contextlib.suppress(OSError, AttributeError):
        parent: Any = process
        parent._parent_process = parent._ParentProcess(told["parent_name"], os.getppid(), os.pidfd_open(os.getppid()))
    sys.path[:] = told["path"]
    sys.argv[:] = told["argv"]
    parent.ORIGINAL_DIR = told["original_directory"]
    with contextlib.suppress(OSError):
        os.chdir(told["directory"])
    if told["log_to_stderr"] or told["log_level"] is not None:
        from multiprocessing import util

        if told["log_to_stderr"]:
            util.log_to_stderr()
        if told["log_level"] is not None:
            util.get_logger().setLevel(told["log_level"])


def run(launch: int, modules: Sequence[str], named: dict[str, Any]) -> NoReturn:
    """The life of a worker that the fork server has just forked."""
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if hasattr(signal, "SIGXFSZ"):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for module in modules:
        importlib.import_module(module)
    worker = Worker({**named, **tasks.registry})
    _muster.serve(launch, ["python", *worker.named], worker.call)
    raise SystemExit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    import argparse

    from muster import forkserver

    parser = argparse.ArgumentParser(
        prog="python -m muster.worker", description="Runs Python workers for a musterd until SIGTERM or SIGINT."
    )
    parser.add_argument("url", help="the musterd's control URL, tcp://host:port or ipc:///path")
    parser.add_argument("-n", "--workers", type=int, default=_muster.cpus(), help="how many (default: the CPUs)")
    parser.add_argument(
        "-i", "--import", dest="modules", action="append", default=[], metavar="MODULE", help="with muster.task in it"
    )
    parser.add_argument("-l", "--label", dest="labels", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--authkey-file", metavar="FILE")
    parser.add_argument("--max-tasks", type=int, default=0, metavar="N", help="replace a worker after so many tasks")
    parser.add_argument("--memory-limit", type=int, default=0, metavar="BYTES", help="of address space, each worker")
    given = parser.parse_args(arguments)
    if given.workers < 1:
        parser.error("there must be at least 1 worker")
    try:
        supervisor = _muster.Supervisor(
            given.url,
            given.workers,
            fork_server=forkserver.command(modules=given.modules),
            labels=[reduction.PYTHON_LABEL, *given.labels],
            authkey_file=given.authkey_file,
            max_tasks=given.max_tasks,
            memory_limit=given.memory_limit,
        )
        return supervisor.run()
    except _muster.Error as error:
        print(f"muster.worker: {error.args[1]}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
