"""Functions with a name, for callers in other languages; and plain values, which every language understands."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, overload

    Function = TypeVar("Function", bound=Callable[..., Any])

    @overload
    def task(name: Function) -> Function: ...
    @overload
    def task(name: str | None = None) -> Callable[[Function], Function]: ...
    def task(name: Any = None) -> Any: ...
else:  # without typing, which takes longer to import than all the rest

    def task(name=None):
        """Registers a function under a name (its own, if none is given), by which workers of this program offer it to
        callers in every language:

            @muster.task
            def wordcount(text):
                return len(text.split())

        Its arguments and its result are plain values. The function itself stays as it was.
        """
        if callable(name):
            return _register(name, name.__name__)
        return lambda function: _register(function, function.__name__ if name is None else name)


DEPTH_MAX = 32  # of nested lists and dictionaries on the wire
NAME_BYTES_MAX = 255

registry: dict[str, Callable[..., Any]] = {}


def _register(function: Any, name: str) -> Any:
    if not isinstance(name, str) or not name or len(name.encode()) > NAME_BYTES_MAX:
        raise ValueError(f"the name of a task is a text of 1 to {NAME_BYTES_MAX} bytes, not {name!r}")
    if name == "python" or name.startswith("muster."):
        raise ValueError(f"{name!r} cannot be the name of a task: it is muster's own")
    registry[name] = function
    return function


def describe(value: Any, where: str, depth: int = 0) -> str | None:
    """Why a value is not plain, or None if it is."""
    if value is None or isinstance(value, (bool, float)):
        return None
    if isinstance(value, int):
        return None if -(1 << 63) <= value < 1 << 64 else f"{where} is an integer of more than 64 bits"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{where} is a str that is not valid Unicode"
        return None
    if isinstance(value, (bytes, bytearray)):
        return None
    if depth >= DEPTH_MAX:
        return f"{where} is nested more than {DEPTH_MAX} deep (or contains itself)"
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            if why := describe(item, f"{where}[{index}]", depth + 1):
                return why
        return None
    if isinstance(value, dict):
        for key, item in value.items():
            why = describe(key, f"the key {key!r} of {where}", depth + 1)
            if why := why or describe(item, f"{where}[{key!r}]", depth + 1):
                return why
        return None
    kind = type(value)
    return f"{where} is a {kind.__module__}.{kind.__qualname__}"


def pack(value: Any, what: str) -> bytes:
    """A plain value as msgpack; TypeError with the reason if it is not plain."""
    import msgpack

    try:
        packed: bytes = msgpack.packb(value)
        return packed
    except (TypeError, ValueError, OverflowError, UnicodeEncodeError, RecursionError) as error:
        why = describe(value, what) or f"{what}: {error}"
    raise TypeError(
        f"{why}, which workers and callers of other languages cannot read: plain values are None, bool, int of 64 "
        "bits, float, str, bytes, list and dict"
    )


def unpack(data: Any) -> Any:
    import msgpack

    return msgpack.unpackb(data, strict_map_key=False)


def _array_head(count: int) -> bytes:
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def pack_arguments(arguments: tuple[Any, ...]) -> bytes:
    """The payload of a call: an array of plain values."""
    packed = [pack(value, f"argument {index}") for index, value in enumerate(arguments, 1)]
    return b"".join((_array_head(len(arguments)), *packed))
