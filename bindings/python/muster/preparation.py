"""What a pool tells its workers before they run anything."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import sys
from collections.abc import Callable, Iterable
from multiprocessing import process, util
from typing import Any

from muster import forkserver, reduction, tasks

SPILL_BYTES = 1 << 20  # of initargs; more do not go into the hand-over


def tell(
    context: Any, forward: bool, remote: bool, initializer: Callable[..., Any] | None, initargs: Iterable[Any]
) -> dict[str, Any]:
    """What a worker needs to know of this process: what `spawn` tells, as far as it can be of use there."""
    told: dict[str, Any] = {"main": reduction.main_module(ship=remote), "forward": forward}
    if forward:
        told["log_root"] = logging.getLogger().getEffectiveLevel()
        told["remote"] = remote
    if not remote:
        current: Any = process.current_process()
        method = (context or multiprocessing).get_start_method(allow_none=True)
        logger: Any = util._logger  # type: ignore[attr-defined]
        told.update(
            method={"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}.get(method, "Fork"),
            parent_name=current.name,
            authkey=bytes(current.authkey),
            path=forkserver.search_path(),
            argv=list(sys.argv),
            directory=os.getcwd(),
            original_directory=process.ORIGINAL_DIR,  # type: ignore[attr-defined]
            log_to_stderr=util._log_to_stderr,  # type: ignore[attr-defined]
            log_level=None if logger is None else logger.getEffectiveLevel(),
        )
    if initializer is not None:
        found = reduction.reference(initializer)
        if found is not None:
            how: int = reduction.REFERENCE
            content: Any = found
        else:
            how, content = reduction.VALUE, reduction.encode_by_value(initializer)[0]
        told["initializer"] = how, content, reduction.encode_alone(tuple(initargs), True, told["main"] is None)
    return told


def spill(told: dict[str, Any]) -> Any:
    """Large arguments of the initializer do not go into the hand-over of each worker but into a file in memory, which
    lives as long as the pool and which the workers read by the name that it has in /proc."""
    if "initializer" not in told or len(told["initializer"][2]) <= SPILL_BYTES:
        return None
    file = os.fdopen(os.memfd_create("muster-initargs"), "wb")
    file.write(told["initializer"][2])
    file.flush()
    told["initializer"] = *told["initializer"][:2], f"/proc/{os.getpid()}/fd/{file.fileno()}"
    return file


def initializer_payload(client: bytes, told: dict[str, Any]) -> bytes:
    import msgpack

    packed: bytes = msgpack.packb([bytes((reduction.INITIALIZE,)), pickle.dumps((client, told), 4)])
    return packed


def named_tasks() -> dict[str, str]:
    """Where the functions of muster.task are, for the workers that are to offer them."""
    found = {name: reduction.reference(function) for name, function in tasks.registry.items()}
    return {name: ":".join(place) for name, place in found.items() if place}
