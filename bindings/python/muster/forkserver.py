"""The clean parent that Python workers are forked from: it imports what they need, and nothing that starts threads."""

from __future__ import annotations

import os
import pickle
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

VARIABLE = "MUSTER_FORK_SERVER_FD"

_START = (
    "import pickle, sys; given = pickle.loads(bytes.fromhex(sys.argv.pop())); sys.path[:] = given['path']; "
    "from muster.forkserver import main; main(given)"
)


def search_path() -> list[str]:
    """sys.path as another process can use it."""
    from multiprocessing import process

    directory = getattr(process, "ORIGINAL_DIR", None) or os.getcwd()
    return [os.path.join(directory, entry) for entry in sys.path]


def command(modules: Sequence[str] = (), named: dict[str, str] | None = None) -> list[str]:
    """How to start one: its workers import `modules`, and offer `named` functions ("module:name") besides."""
    from multiprocessing import spawn, util

    given = {"path": search_path(), "modules": list(modules), "named": named or {}}
    executable: Any = os.fsdecode(spawn.get_executable() or sys.executable)
    flags: list[str] = util._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return [executable, *flags, "-c", _START, pickle.dumps(given, 4).hex()]


def main(given: dict[str, Any]) -> None:
    import gc

    from muster import _muster, worker

    gc.collect()
    gc.freeze()  # a collection in a worker leaves our objects alone, and their pages shared
    launch = _muster.serve_forks(int(os.environ.pop(VARIABLE)))
    worker.run(launch, given["modules"], given["named"])
