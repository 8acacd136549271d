"""The extension by itself: what muster._muster does with a pool of C workers.

The plugin misbehave.so of the end-to-end tests has the functions that are called here.
"""

from __future__ import annotations

import array
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import msgpack
import numpy
import pytest

from muster import _muster
from muster._muster import Error, Options, Pool, Result

PLUGIN = os.path.join(os.environ.get("TEST_PLUGIN_DIR", ""), "misbehave.so")
LONG = 30.0  # more than anything here takes: what waits so long has failed


def open_pool(workers: int = 1, **options: object) -> Pool:
    return Pool(f"local:{workers}", plugins=[PLUGIN], **options)  # type: ignore[arg-type]


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = open_pool()
    yield made
    made.terminate()
    made.free()


@pytest.fixture(scope="module")
def shared() -> Iterator[Pool]:
    """For tests that leave nothing behind."""
    made = open_pool(2)
    yield made
    made.free()


def wait_for(condition: object) -> None:
    """Until condition() is true."""
    end = time.monotonic() + LONG
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.001)


def call(pool: Pool, function: str, *arguments: object, **options: object) -> Result:
    return pool.submit_raw(pool.define(function), msgpack.packb(list(arguments)), Options(**options))  # type: ignore


def value(result: Result, index: int = 0) -> object:
    assert result.wait(LONG)
    raw = result.raw(index)
    assert raw is not None, result.failure()
    return msgpack.unpackb(raw)


# --- calls and results -------------------------------------------------------------------------------------------


def test_a_call_returns_its_value(shared: Pool) -> None:
    result = call(shared, "add", 1, 2, 3)
    assert value(result) == 6
    assert result.ready() and result.successful() and result.failure() is None
    assert len(result) == 1


@pytest.mark.parametrize("sent", [None, True, 0, -5, 2**63, 1.5, "text", b"bytes", [1, [2, {"a": b"b"}]], "", b"", []])
def test_any_msgpack_value_comes_back_as_it_went(shared: Pool, sent: object) -> None:
    assert value(call(shared, "identity", sent)) == sent


def test_parts_travel_as_an_array_of_binaries(shared: Pool) -> None:
    parts = [b"kind", bytearray(b"pickle"), memoryview(b"xxbufferxx")[2:8], array.array("i", [1, 2])]
    result = shared.submit(shared.define("identity"), parts)
    assert value(result) == b"kind"
    nested = shared.submit_raw(shared.define("identity"), msgpack.packb([[bytes(part) for part in parts]]))
    assert nested.wait(LONG)
    received = nested.parts()
    assert received is not None and [bytes(part) for part in received] == [bytes(part) for part in parts]


def test_many_parts_are_no_problem(shared: Pool) -> None:
    assert value(shared.submit(shared.define("identity"), [b"first"] + [b"x" * 100] * 5000)) == b"first"


def test_a_multidimensional_array_is_a_part_and_a_strided_one_is_refused(shared: Pool) -> None:
    matrix = numpy.arange(12, dtype="u1").reshape(3, 4)
    identity = shared.define("identity")
    assert value(shared.submit(identity, [matrix])) == matrix.tobytes()
    assert value(shared.submit(identity, [numpy.asfortranarray(matrix)])) == matrix.T.tobytes()
    with pytest.raises((BufferError, ValueError)):
        shared.submit(identity, [matrix[:, ::2]])


def test_what_is_no_array_of_binaries_has_no_parts(shared: Pool) -> None:
    for sent in (1, "text", [1], {}):
        result = call(shared, "identity", sent)
        assert result.wait(LONG)
        with pytest.raises(Error) as raised:
            result.parts()
        assert raised.value.args[0] == _muster.ETYPE


@pytest.mark.parametrize("size", [10, 1000, 300_000, 3_000_000])
def test_the_memory_of_a_result_may_be_written_to_and_outlives_it(shared: Pool, size: int) -> None:
    result = call(shared, "identity", [bytes(size)])
    assert result.wait(LONG)
    parts = result.parts()
    del result
    gc.collect()
    assert parts is not None
    numbers = numpy.frombuffer(parts[0], dtype="u1")
    del parts
    gc.collect()
    numbers[:] = 7
    assert int(numbers.sum()) == 7 * size


def test_many_calls_are_one_result_with_the_values_in_their_order(shared: Pool) -> None:
    add = shared.define("add")
    identity = shared.define("identity")
    result = shared.submit_many(identity, [(str(i).encode(),) for i in range(3000)])
    assert [value(result, i) for i in range(3000)] == [str(i).encode() for i in range(3000)]
    assert len(result) == 3000
    assert shared.submit_many(add, []).ready()


def test_a_failed_call_among_many_fails_alone(shared: Pool) -> None:
    result = shared.submit_many(shared.define("even"), [[], []])
    assert result.wait(LONG) and not result.successful()
    failure = result.failure()
    assert failure is not None and failure == result.failure(0)
    assert failure.status == _muster.EINVAL and "even: argument 0 is missing" in failure.message
    assert result.parts(1) is None and result.raw(1) is None


def test_a_failure_says_who_where_and_why(shared: Pool) -> None:
    result = call(shared, "refuse")
    assert result.wait(LONG) and not result.successful()
    failure = result.failure()
    assert failure is not None
    assert failure[:3] == (_muster.ETASK, "Refusal", "no, never")
    assert failure.function == "refuse" and failure.worker.startswith(failure.host + "/") and failure.pid > 0
    assert (failure.signal, failure.exit_status, failure.value) == (0, -1, None)


def test_a_killed_worker_is_named_with_its_signal(shared: Pool) -> None:
    result = call(shared, "segfault")
    assert result.wait(LONG)
    failure = result.failure()
    assert failure is not None
    assert (failure.status, failure.signal) == (_muster.ELOST, signal.SIGSEGV) and failure.pid > 0


def test_a_name_that_nobody_offers_is_a_failure(shared: Pool) -> None:
    result = call(shared, "nobody_has_this")
    assert result.wait(LONG)
    failure = result.failure()
    assert failure is not None and failure.status == _muster.ENOFUNCTION


def test_a_time_limit_ends_a_running_call(shared: Pool) -> None:
    result = call(shared, "loop", time_limit=0.05, grace=0.05)
    assert result.wait(LONG)
    failure = result.failure()
    assert failure is not None and failure.status == _muster.ETIMEDOUT


def test_retries_run_a_lost_call_again(pool: Pool) -> None:
    result = call(pool, "segfault", retries=2)
    assert result.wait(LONG)
    assert pool.stats()["lost"] == 1


def test_a_call_can_be_cancelled(pool: Pool) -> None:
    result = call(pool, "loop", grace=0.05)
    assert not result.wait(0.02)
    result.cancel()
    assert result.wait(LONG)
    failure = result.failure()
    assert failure is not None and failure.status == _muster.ECANCELED
    result.cancel()


def test_waiting_has_an_end(pool: Pool) -> None:
    result = call(pool, "sleep_ms", 60_000)
    assert not result.wait(0.01) and not result.wait(0) and not result.wait(-1) and not result.ready()
    with pytest.raises(ValueError):
        result.wait(float("nan"))
    with pytest.raises(Error):
        result.raw()
    assert result.failure() is None


def test_a_result_has_a_descriptor_for_poll_loops(pool: Pool) -> None:
    import select

    result = call(pool, "sleep_ms", 10)
    assert select.select([result], [], [], LONG)[0] == [result]
    assert result.ready()


def test_an_index_must_be_one_of_the_calls(shared: Pool) -> None:
    result = call(shared, "nothing")
    assert result.wait(LONG)
    for index in (1, -1, 2**70):
        with pytest.raises(IndexError):
            result.parts(index)


# --- wrong arguments ---------------------------------------------------------------------------------------------


def test_wrong_arguments_are_refused(shared: Pool) -> None:
    define = shared.define("nothing")
    for arguments in (
        (),
        (define,),
        ("nothing", []),
        (define, 5),
        (define, [5]),
        (define, [], 5),
        (define, [], None, 5),
    ):
        with pytest.raises(TypeError):
            shared.submit(*arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        shared.submit(define, [], unknown=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        shared.submit(define, [], definition=define)  # type: ignore[misc]
    with pytest.raises(TypeError):
        shared.submit_many(define, [5])  # type: ignore[list-item]
    with pytest.raises(Error) as raised:
        shared.submit(define, [], Options(priority=5000))
    assert raised.value.args[0] == _muster.EINVAL and "5000" in raised.value.args[1]


def test_a_definition_belongs_to_its_pool(pool: Pool, shared: Pool) -> None:
    with pytest.raises(Error) as raised:
        pool.submit(shared.define("nothing"), [])
    assert raised.value.args[0] == _muster.EINVAL


def test_a_pool_that_cannot_be_opened_says_why() -> None:
    for url, status in (
        ("nonsense", _muster.EURL),
        ("local:x", _muster.EURL),
        ("ipc:///nowhere/at/all", _muster.ECONNECT),
    ):
        with pytest.raises(Error) as raised:
            Pool(url, plugins=[PLUGIN] if url == "local:x" else [], connect_timeout=0.1)
        assert raised.value.args[0] == status and raised.value.args[1]
    with pytest.raises(Error) as raised:
        Pool("local:1", plugins=["/nowhere/plugin.so"])
    assert raised.value.args[0] == _muster.EPLUGIN
    with pytest.raises(TypeError):
        Pool("local:1", plugins=PLUGIN)


def test_a_part_that_changes_its_list_breaks_nothing(shared: Pool) -> None:
    parts: list[object] = []

    class Nasty(bytearray):
        pass

    parts.extend(Nasty(b"x") for _ in range(20))
    parts.append(numpy.zeros(3, dtype="u1"))
    result = shared.submit(shared.define("identity"), parts)  # type: ignore[arg-type]
    parts.clear()
    assert value(result) == b"x"


# --- the window --------------------------------------------------------------------------------------------------


def test_a_full_window_waits_or_raises_as_asked() -> None:
    pool = open_pool(window=2)
    first = [call(pool, "sleep_ms", 50) for _ in range(2)]
    with pytest.raises(Error) as raised:
        call(pool, "nothing", nonblock=True)
    assert raised.value.args[0] == _muster.EAGAIN
    assert value(call(pool, "add", 1)) == 1
    assert first[0].ready()
    many = pool.submit_many(pool.define("nothing"), [()] * 100)
    assert many.wait(LONG) and many.successful()
    pool.free()


# --- who is told -------------------------------------------------------------------------------------------------


def test_callbacks_are_called_once_with_the_result(shared: Pool) -> None:
    seen: list[Result] = []
    done = threading.Event()

    def on_done(result: Result) -> None:
        seen.append(result)
        done.set()

    result = shared.submit(shared.define("nothing"), [], None, on_done)
    assert done.wait(LONG) and seen == [result] and result.ready()


def test_callbacks_can_be_added_later_and_to_what_is_ready(shared: Pool) -> None:
    seen: list[int] = []
    done = threading.Event()
    result = call(shared, "sleep_ms", 20)
    for number in range(3):
        result.add_done(lambda _, number=number: seen.append(number))  # type: ignore[misc]
    result.add_done(lambda _: done.set())
    assert done.wait(LONG) and seen == [0, 1, 2]
    result.add_done(lambda _: seen.append(3))
    assert seen == [0, 1, 2, 3]
    with pytest.raises(TypeError):
        result.add_done(5)  # type: ignore[arg-type]


def test_what_a_callback_raises_is_reported_and_does_no_harm(shared: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda info: raised.append(info.exc_type))
    done = threading.Event()

    def on_done(result: Result) -> None:
        raise LookupError("no")

    result = call(shared, "sleep_ms", 10)
    result.add_done(on_done)
    result.add_done(lambda _: done.set())
    assert done.wait(LONG) and raised == [LookupError]


def test_a_callback_that_would_wait_is_refused(pool: Pool) -> None:
    errors: list[int] = []
    done = threading.Event()
    other = call(pool, "loop", grace=0.05)

    def on_done(result: Result) -> None:
        for wait in (other.wait, pool.join, pool.status, pool.free):
            try:
                wait()  # type: ignore[operator]
            except Error as error:
                errors.append(error.args[0])
        done.set()

    nobody = pool.submit(pool.define("nobody_has_this"), [], None, on_done)
    assert done.wait(LONG) and errors == [_muster.EINVAL] * 4
    assert nobody.ready() and not other.ready()


def test_lines_that_workers_print_are_given_to_the_listener() -> None:
    lines: list[tuple[int, str, bytes]] = []
    pool = open_pool(on_output=lambda *line: lines.append(line))
    assert call(pool, "print", "a line").wait(LONG)
    wait_for(lambda: lines)
    [(stream, worker, line)] = lines
    assert (stream, line) == (1, b"a line") and worker.endswith("/0")
    pool.free()


# --- pools end ---------------------------------------------------------------------------------------------------


def workers_of(pool: Pool) -> set[int]:
    result = pool.submit_many(pool.define("pid"), [()] * 20)
    assert result.wait(LONG)
    return {value(result, i) for i in range(20)}  # type: ignore[misc]


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_closed_pool_finishes_and_takes_no_more() -> None:
    pool = open_pool()
    pids = workers_of(pool)
    with pytest.raises(Error):
        pool.join()
    result = call(pool, "sleep_ms", 30)
    pool.close()
    with pytest.raises(Error) as raised:
        call(pool, "nothing")
    assert raised.value.args[0] == _muster.ECLOSED
    assert not pool.join(0)
    assert pool.join() and result.successful()
    assert not any(map(alive, pids))
    pool.free()
    pool.free()


def test_a_terminated_pool_fails_what_is_outstanding() -> None:
    pool = open_pool()
    results = [call(pool, "loop") for _ in range(3)]
    pool.terminate()
    assert pool.join(LONG)
    for result in results:
        failure = result.failure()
        assert failure is not None and failure.status == _muster.ECLOSED
    pool.free()


def test_a_freed_pool_raises_and_its_results_stay() -> None:
    pool = open_pool()
    define = pool.define("identity")
    result = call(pool, "identity", "kept")
    assert result.wait(LONG)
    pool.free()
    assert value(result) == "kept"
    for use in (lambda: pool.submit(define, []), lambda: pool.define("other"), pool.status):
        with pytest.raises(Error) as raised:
            use()
        assert raised.value.args[0] == _muster.ECLOSED
    assert pool.stats()["succeeded"] == 1
    assert pool.join(LONG)


def test_threads_that_wait_go_on_when_the_pool_is_freed() -> None:
    pool = open_pool(window=1)
    running = call(pool, "loop")
    ends: list[object] = []

    def wait() -> None:
        ends.append(running.wait(LONG))

    def submit() -> None:
        try:
            call(pool, "nothing")
        except Error as error:
            ends.append(error.args[0])

    threads = [threading.Thread(target=target) for target in (wait, submit, wait)]
    for thread in threads:
        thread.start()
    pool.free()
    for thread in threads:
        thread.join(LONG)
    assert sorted(map(str, ends)) == sorted(map(str, [True, _muster.ECLOSED, True]))


def test_a_pool_that_is_forgotten_ends_its_workers() -> None:
    pool = open_pool()
    pids = workers_of(pool)
    call(pool, "loop")
    del pool
    gc.collect()
    wait_for(lambda: not any(map(alive, pids)))


def test_a_pool_in_a_cycle_is_collected_with_it() -> None:
    class Holder:
        pool: Pool

        def line(self, *line: object) -> None:
            pass

    holder = Holder()
    holder.pool = open_pool(on_output=holder.line, on_log=holder.line)
    pids = workers_of(holder.pool)
    watched = weakref.ref(holder)
    del holder
    gc.collect()
    assert watched() is None
    wait_for(lambda: not any(map(alive, pids)))


def test_a_pool_collected_in_its_own_callback_ends_without_a_deadlock() -> None:
    done = threading.Event()
    pools = [open_pool(on_output=lambda *line: (pools.clear(), gc.collect(), done.set()))]
    pids = workers_of(pools[0])
    call(pools[0], "print", "a line")
    assert done.wait(LONG)
    wait_for(lambda: not any(map(alive, pids)))


# --- workers -----------------------------------------------------------------------------------------------------

WORKER = """
import os, sys, threading, time
from muster import _muster

kept = []
notes = []


def echo(task, parts):
    return parts


def identity(task, parts):
    return {1: parts, 2: tuple(parts), 3: task.raw()}[len(parts)]


def pid(task, parts):
    return [str(os.getpid()).encode()]


def raises(task, parts):
    raise LookupError(parts[1].tobytes().decode())


def fails(task, parts):
    task.fail("Kind", "a sentence", "a traceback", b"a value")


def bodies(task, parts):
    return [task.body(), str(task.definition()).encode(), task.function.encode(), task.worker.encode()]


def keep(task, parts):
    parts[1][:1] = b"K"
    kept[:] = [parts[1]]
    return [b""]


def give_kept(task, parts):
    return kept


def sleep(task, parts):
    try:
        time.sleep(60)
    except _muster.TaskStopped:
        notes.append(b"stopped" if task.cancelled() else b"?")
        raise


def spin(task, parts):
    while True:
        pass


def swallow(task, parts):
    for attempt in range(2):
        try:
            time.sleep(60 if attempt == 0 else 0.2)
        except _muster.TaskStopped:
            notes.append(b"swallowed")
    return [b"in vain"]


def slow_import(task, parts):
    sys.path.insert(0, os.path.dirname(__file__))
    import slow
    return [slow.done]


def refuse_to_stop(task, parts):
    while True:
        try:
            time.sleep(60)
        except _muster.TaskStopped:
            pass


def give_notes(task, parts):
    given = list(notes)
    notes.clear()
    return given


def old_task(task, parts):
    old, kept[:] = kept[0] if kept else None, [task]
    errors = []
    for use in (old.parts, old.raw, old.body, old.definition, old.cancelled, lambda: old.function) if old else ():
        try:
            use()
        except _muster.Error as error:
            errors.append(str(error.args[0]).encode())
    return errors


def wrong(task, parts):
    return {b"none": None, b"number": 5, b"list": [5], b"msgpack": b"\\xc1"}[parts[1].tobytes()]


def leave_thread(task, parts):
    def run():
        for _ in range(100):
            time.sleep(0.001)
            notes.append(b"")
    threading.Thread(target=run, daemon=True).start()
    return []


def at_end(task, parts):
    import atexit
    atexit.register(lambda: print("the end", flush=True))
    return []


def nest(task, parts):
    pool = _muster.Pool("local:1", fork_server=[sys.executable, parts[1].tobytes().decode()])
    result = pool.submit(pool.define("python"), [b"echo", b"inside"])
    result.wait(30)
    return result.parts()


def count(task, parts):
    import gc
    gc.collect()
    return [str(sys.getallocatedblocks()).encode()]


def call(task):
    try:
        parts = task.parts()
    except _muster.Error as error:
        return [str(error.args[0]).encode()]
    return globals()[parts[0].tobytes().decode()](task, parts)


if __name__ == "__main__":
    launch = _muster.serve_forks(int(os.environ["MUSTER_FORK_SERVER_FD"]))
    _muster.serve(launch, ["python"], call)
"""


@pytest.fixture(scope="module")
def worker_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("worker") / "worker.py"
    path.write_text(WORKER)
    path.with_name("slow.py").write_text("import time\ntime.sleep(0.3)\ndone = b'done'\n")
    return str(path)


def open_python(program: str, workers: int = 1, **options: object) -> Pool:
    return Pool(f"local:{workers}", fork_server=[sys.executable, program], **options)  # type: ignore[arg-type]


@pytest.fixture
def python(worker_program: str) -> Iterator[Pool]:
    made = open_python(worker_program)
    yield made
    made.terminate()
    made.free()


def ask(pool: Pool, *parts: bytes, **options: object) -> list[bytes] | _muster.Failure:
    result = pool.submit(pool.define("python"), parts, Options(**options))  # type: ignore[arg-type]
    assert result.wait(LONG)
    received = result.parts()
    if received is not None:
        return [bytes(part) for part in received]
    failure = result.failure()
    assert failure is not None
    return failure


def test_a_python_worker_answers_with_parts_or_a_payload(python: Pool) -> None:
    many = [b"x" * size for size in (0, 1, 300, 70_000, 300_000, 1, 2, 3, 4, 5)]
    assert ask(python, b"echo", *many) == [b"echo", *many]
    for parts in ((b"identity",), (b"identity", b"2"), (b"identity", b"2", b"3" * 300_000)):
        assert ask(python, *parts) == list(parts)
    numbers = numpy.arange(2_000_000)
    result = python.submit(python.define("python"), [b"echo", numbers])
    assert result.wait(LONG)
    parts = result.parts()
    assert parts is not None
    back = numpy.frombuffer(parts[1], numbers.dtype)
    assert (back == numbers).all() and back.flags.writeable


def test_what_a_python_worker_raises_or_gives_wrongly_is_a_failure(python: Pool) -> None:
    failure = ask(python, b"raises", b"why")
    assert failure[:3] == (_muster.ETASK, "LookupError", "why")
    failure = ask(python, b"fails")
    assert failure[:4] == (_muster.ETASK, "Kind", "a sentence", "a traceback")
    assert isinstance(failure, _muster.Failure) and failure.value == b"a value"
    for what in (b"none", b"number", b"list"):
        failure = ask(python, b"wrong", what)
        assert isinstance(failure, _muster.Failure) and failure.kind == "TypeError", failure
    failure = ask(python, b"wrong", b"msgpack")
    assert isinstance(failure, _muster.Failure) and failure.status == _muster.EENCODING
    assert ask(python, b"echo") == [b"echo"]


def test_a_worker_is_asked_for_parts_of_something_else(python: Pool) -> None:
    result = python.submit_raw(python.define("python"), msgpack.packb([1, "text"]))
    assert result.wait(LONG)
    parts = result.parts()
    assert parts is not None and bytes(parts[0]) == str(_muster.ETYPE).encode()


def test_definitions_with_bodies_are_told_apart(python: Pool) -> None:
    seen = set()
    for body in (b"", b"one", b"two", b"one", b"x" * 500_000):
        result = python.submit(python.define("python", body), [b"bodies"])
        assert result.wait(LONG)
        parts = result.parts()
        assert parts is not None and parts[0] == body and parts[2] == b"python" and bytes(parts[3]).endswith(b"/0")
        seen.add((len(body), body[:1], bytes(parts[1])))
    assert len(seen) == 4 and (0, b"", b"0") in seen


@pytest.mark.parametrize("size", [5, 5000, 500_000])
def test_the_memory_of_arguments_outlives_the_task_and_may_be_written_to(python: Pool, size: int) -> None:
    assert ask(python, b"keep", b"a" * size) == [b""]
    for _ in range(5):
        ask(python, b"echo", b"b" * size)
    assert ask(python, b"give_kept") == [b"K" + b"a" * (size - 1)]


def test_a_task_that_is_over_says_so(python: Pool) -> None:
    assert ask(python, b"old_task") == []
    assert ask(python, b"old_task") == [str(_muster.EINVAL).encode()] * 6


@pytest.mark.parametrize("what", [b"sleep", b"spin"])
def test_a_python_task_that_is_to_stop_is_stopped_wherever_it_is(python: Pool, what: bytes) -> None:
    [pid] = ask(python, b"pid")
    failure = ask(python, what, time_limit=0.05, grace=LONG)
    assert failure[0] == _muster.ETIMEDOUT
    assert ask(python, b"pid") == [pid]
    assert ask(python, b"give_notes") == [b"stopped"][: what == b"sleep"]


def test_a_cancelled_python_task_is_stopped(python: Pool) -> None:
    [pid] = ask(python, b"pid")
    result = python.submit(python.define("python"), [b"sleep"], Options(grace=LONG))
    assert not result.wait(0.05)
    result.cancel()
    assert result.wait(LONG)
    failure = result.failure()
    assert failure is not None and failure.status == _muster.ECANCELED
    assert ask(python, b"pid") == [pid]


def test_a_task_is_told_to_stop_once_and_what_follows_is_left_alone(python: Pool) -> None:
    failure = ask(python, b"swallow", time_limit=0.05, grace=LONG)
    assert failure[0] == _muster.ETIMEDOUT
    assert ask(python, b"give_notes") == [b"swallowed"]


def test_a_task_is_not_stopped_in_the_middle_of_an_import(python: Pool) -> None:
    [pid] = ask(python, b"pid")
    failure = ask(python, b"slow_import", time_limit=0.05, grace=LONG)
    assert failure[0] == _muster.ETIMEDOUT
    assert ask(python, b"slow_import", time_limit=0.2, grace=LONG) == [b"done"]
    assert ask(python, b"pid") == [pid]


def test_a_python_task_that_cannot_be_stopped_is_killed(python: Pool) -> None:
    [pid] = ask(python, b"pid")
    failure = ask(python, b"refuse_to_stop", time_limit=0.05, grace=0.05)
    assert failure[0] == _muster.ETIMEDOUT
    assert ask(python, b"pid") != [pid]


def test_threads_that_a_task_leaves_run_while_the_worker_waits(python: Pool) -> None:
    ask(python, b"leave_thread")
    count = 0

    def counted() -> bool:
        nonlocal count
        count += len(ask(python, b"give_notes"))
        return count == 100

    wait_for(counted)


def test_a_worker_that_has_done_its_tasks_ends_as_python_programs_do(worker_program: str) -> None:
    lines: list[bytes] = []
    pool = open_python(worker_program, max_tasks=2, on_output=lambda stream, worker, line: lines.append(line))
    [pid] = ask(pool, b"pid")
    ask(pool, b"at_end")
    assert ask(pool, b"pid") != [pid]
    wait_for(lambda: lines == [b"the end"])
    pool.close()
    assert pool.join(LONG)


def test_a_pool_of_python_workers_in_a_python_worker(python: Pool, worker_program: str) -> None:
    assert ask(python, b"nest", worker_program.encode()) == [b"echo", b"inside"]


def test_labels_of_a_call_choose_among_the_workers(worker_program: str) -> None:
    pool = open_python(worker_program, labels=["kind=small"])
    assert ask(pool, b"echo", labels=["kind=small"]) == [b"echo"]
    failure = ask(pool, b"echo", labels=["kind=large"])
    assert failure[0] == _muster.ENOFUNCTION
    with pytest.raises(TypeError):
        Options(labels="kind=small")
    pool.free()


# --- the process around it ---------------------------------------------------------------------------------------


def run(program: str, **arguments: object) -> subprocess.CompletedProcess[str]:
    text = f"PLUGIN = {PLUGIN!r}\nfrom muster import _muster\n" + textwrap.dedent(program)
    return subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=4 * LONG,
        **arguments,  # type: ignore
    )


def test_a_program_ends_with_calls_under_way() -> None:
    ended = run("""
        pool = _muster.Pool("local:2", plugins=[PLUGIN])
        loop = pool.define("loop")
        results = [pool.submit(loop, [], None, lambda result: print("told")) for _ in range(10)]
        print("ready")
        """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")


def test_a_program_ends_while_callbacks_rain() -> None:
    for _ in range(5):
        ended = run("""
            pool = _muster.Pool("local:2", plugins=[PLUGIN], on_output=lambda *line: None)
            nothing = pool.define("nothing")
            seen = []
            for _ in range(20000):
                pool.submit(nothing, [], None, seen.append)
            pool.submit_raw(pool.define("print_much"), b"\\x91\\xce\\x00\\x10\\x00\\x00")
            print("ready")
            """)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")


def test_pools_end_before_the_interpreter_does() -> None:
    ended = run("""
        import builtins, os
        builtins.pool = _muster.Pool("local:1", plugins=[PLUGIN], on_output=lambda *line: None)
        pid = pool.submit(pool.define("pid"), [])
        pid.wait()
        process = "/proc/%d" % int.from_bytes(bytes(pid.raw())[1:], "big")

        class Late:
            def __del__(self, process=process, exists=os.path.exists, out=os.write):
                out(1, b"left" if exists(process) else b"gone")

        late = Late()
        """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "gone", "")


def test_a_thread_that_waits_does_not_keep_a_program_from_its_end() -> None:
    ended = run("""
        import threading
        pool = _muster.Pool("local:1", plugins=[PLUGIN])
        result = pool.submit(pool.define("loop"), [])
        threading.Thread(target=result.wait, daemon=True).start()
        print("ready")
        """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")


def test_no_pool_is_opened_while_the_interpreter_ends() -> None:
    ended = run("""
        import sys
        class Late:
            def __del__(self, Pool=_muster.Pool, Error=_muster.Error, write=sys.stdout.write, flush=sys.stdout.flush):
                try:
                    Pool("local:1", plugins=[PLUGIN])
                except Error as error:
                    write(error.args[1] + "\\n")
                    flush()
        sys.late = Late()
        """)
    assert ended.stdout == "no pool can be opened while the interpreter ends\n", ended.stderr


def test_a_forked_child_gets_errors_and_does_no_harm(pool: Pool) -> None:
    ready = call(pool, "identity", "kept")
    assert ready.wait(LONG)
    running = call(pool, "sleep_ms", 200)
    define = pool.define("nothing")
    child = os.fork()
    if child == 0:
        status = 0
        for number, use in enumerate(
            (
                lambda: pool.submit(define, []),
                lambda: pool.submit_many(define, [[]]),
                lambda: pool.define("other"),
                pool.close,
                pool.terminate,
                pool.join,
                pool.free,
                pool.workers,
                pool.stats,
                pool.status,
                running.wait,
                running.cancel,
                lambda: running.add_done(print),
            )
        ):
            try:
                use()  # type: ignore[operator]
                status = number + 1
            except Error as error:
                if error.args[0] != _muster.EINVAL:
                    status = number + 1
        if value(ready) != "kept":
            status = 100
        try:
            open_pool()
            status = 101
        except Error as error:
            if error.args[0] != _muster.EINVAL or "exec" not in error.args[1]:
                status = 102
        del pool, ready, running, define, use
        gc.collect()
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert running.wait(LONG) and running.successful()
    assert value(call(pool, "add", 2)) == 2


def test_a_signal_handler_runs_while_the_main_thread_waits_and_may_end_the_wait() -> None:
    ended = run("""
        import os, signal, socket, threading, time
        pool = _muster.Pool("local:1", plugins=[PLUGIN], window=1)
        nothing = pool.define("nothing")
        result = pool.submit(pool.define("loop"), [])
        silent = socket.create_server(("127.0.0.1", 0))
        url = "tcp://127.0.0.1:%d" % silent.getsockname()[1]
        seen = []
        signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))

        def interrupt():
            os.kill(os.getpid(), signal.SIGUSR1)
            while not seen:
                time.sleep(0.001)
            os.kill(os.getpid(), signal.SIGINT)

        def join():
            pool.close()
            pool.join()

        for wait in (
            result.wait,
            lambda: pool.submit(nothing, []),
            lambda: pool.submit_many(nothing, [()] * 3),
            lambda: _muster.Pool(url, connect_timeout=60),
            join,
        ):
            seen.clear()
            thread = threading.Timer(0.02, interrupt)
            thread.start()
            try:
                wait()
            except KeyboardInterrupt:
                print("interrupted")
            thread.join()
        pool.terminate()
        print(pool.join(30), pool.stats()["outstanding"])
        """)
    assert (ended.stdout, ended.stderr) == ("interrupted\n" * 5 + "True 0\n", "")


def test_a_handler_may_wait_itself() -> None:
    ended = run("""
        import os, signal, threading
        pool = _muster.Pool("local:2", plugins=[PLUGIN])
        loop = pool.submit(pool.define("loop"), [])
        def on_signal(number, frame):
            print(pool.submit(pool.define("nothing"), []).wait(30), loop.wait(0.2))
            loop.cancel()
        signal.signal(signal.SIGUSR1, on_signal)
        threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        print(loop.wait(30))
        """)
    assert (ended.stdout, ended.stderr) == ("True False\nTrue\n", "")


def test_the_extension_refuses_to_live_in_a_subinterpreter() -> None:
    ended = run("""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        made = interpreters.create()
        try:
            answer = interpreters.run_string(made, "import muster._muster")
        except Exception as error:
            answer = error
        print("ImportError" in str(answer) or "main interpreter" in str(answer) or "subinterpreters" in str(answer))
        """)
    assert ended.stdout == "True\n", ended.stderr


def test_the_extension_may_be_imported_again() -> None:
    ended = run("""
        import importlib, sys
        importlib.reload(_muster)
        del sys.modules["muster._muster"]
        import muster._muster
        again = sys.modules["muster._muster"]
        print(again.Pool is _muster.Pool, again.Error is _muster.Error)
        """)
    assert (ended.stdout, ended.stderr) == ("True True\n", "")


# --- nothing leaks -----------------------------------------------------------------------------------------------


def allocated() -> int:
    """Blocks that Python holds, when all that can go has gone."""
    for _ in range(3):
        gc.collect()
    return sys.getallocatedblocks()


def test_calls_leave_nothing_behind(shared: Pool) -> None:
    identity, refuse = shared.define("identity"), shared.define("refuse")

    def use() -> None:
        results = [shared.submit(identity, [bytes(2000), bytearray(10)]) for _ in range(50)]
        results += [shared.submit(refuse, [], None, lambda result: None) for _ in range(50)]
        results.append(shared.submit_many(identity, [(bytes(100), b"z") for _ in range(50)]))
        large = shared.submit_raw(identity, msgpack.packb([[bytes(400_000)]]))
        for result in [*results, large]:
            assert result.wait(LONG)
            result.failure()
            result.raw()
        parts = large.parts()
        assert parts is not None and len(parts[0]) == 400_000
        for wrong in ([5], [b"x", "y"]):
            with pytest.raises(TypeError):
                shared.submit(identity, wrong)  # type: ignore[list-item]
        with pytest.raises(Error):
            shared.submit(identity, [], Options(priority=9999, labels=["a=b"]))
        shared.define("identity", b"a body")

    counts = []
    for _ in range(8):
        use()
        wait_for(lambda: shared.stats()["outstanding"] == 0)
        counts.append(allocated())
    # The callback thread may still hold what it was just given; a leak would grow with every round.
    assert counts[-1] - counts[2] < 50, counts


def test_tasks_leave_nothing_behind_in_their_worker(python: Pool) -> None:
    counts = []
    for _ in range(8):
        for _ in range(50):
            ask(python, b"echo", b"x" * 2000)
            ask(python, b"bodies")
            ask(python, b"raises", b"why")
            ask(python, b"fails")
            ask(python, b"wrong", b"list")
        ask(python, b"keep", b"z" * 300_000)
        ask(python, b"sleep", time_limit=0.001, grace=LONG)
        ask(python, b"give_notes")
        [count] = ask(python, b"count")
        counts.append(int(count))
    assert counts[-1] - counts[2] < 50, counts


def test_pools_leave_nothing_behind() -> None:
    def use() -> None:
        pool = open_pool(on_output=lambda *line: None, labels=["a=b"])
        assert call(pool, "nothing").wait(LONG)
        pool.close()
        assert pool.join(LONG)

    counts = []
    for round in range(6):
        use()
        counts.append(allocated())
        if round == 0:
            first = len(os.listdir("/proc/self/fd"))
    wait_for(lambda: len(os.listdir("/proc/self/fd")) <= first)  # sockets are closed by a thread of theirs
    assert counts[-1] - counts[2] < 50, counts
