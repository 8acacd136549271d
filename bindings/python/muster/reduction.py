"""How callables become definitions, and arguments and results become bytes.

A body, what a definition carries for the function `python`, is a pickled tuple (client, preamble, how, content):

    client     bytes that name the pool: what its functions share in a worker is kept under them
    preamble   pickled dictionary that a worker needs of a client that it meets for the first time; empty for a local
               pool, whose workers were told by the initializer
    how        REFERENCE: content is (module, qualified name)
               VALUE: content is the pickled callable
               TRAVELS: the callable comes with the arguments

A payload is a list of binaries [kind, pickle, buffer...], a result [pickle, buffer...]. The buffers are those of pickle
protocol 5.

Functions that go by value do not take their globals along as a copy. They name them, by the module, and the worker
looks them up: the module itself if it can be imported there, or else one namespace that all functions of this module
and this client share. With them go globals that the worker cannot have: of a main module those that it binds only when
it is the program itself, of a module that cannot be imported all that they use. A global that the client sent is
replaced when it sends another; one that the worker has set itself, in an initializer, say, stays.
"""

from __future__ import annotations

import builtins
import importlib
import io
import os
import pickle
import sys
import types
from multiprocessing import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PROTOCOL = 5
REFERENCE, VALUE, TRAVELS = range(3)
CALL, ITEMS, ARGUMENTS, INITIALIZE, WITH_CALLABLE = 0, 1, 2, 3, 8
SMALL_BUFFER = 4096  # bytes; smaller ones are pickled with the rest
VALUES_MAX = 1024  # definitions by value of one pool: further functions travel with their arguments
VALUE_BYTES_MAX = 64 << 20  # the same in bytes, of all bodies together
PYTHON_LABEL = f"python={sys.version_info[0]}.{sys.version_info[1]}"

# What must be the same objects for a function to be the same as when it was pickled; anything else may have changed
# inside, and the function is pickled anew.
_ATOMS = (
    type(None),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    types.BuiltinFunctionType,
    types.FunctionType,
    types.ModuleType,
    type,
)
_MISSING = object()
_PLACED = "__muster_placed__"
MISSING_MODULE = "__muster_missing__"  # in globals that cannot be had here: why


# --- bytes ------------------------------------------------------------------------------------------------------------


def encode(value: Any, dumps: Callable[..., bytes] = pickle.dumps) -> list[Any]:
    """[pickle, buffer...] of a value."""
    buffers: list[Any] = []
    parts: list[Any] = [dumps(value, PROTOCOL, buffer_callback=buffers.append)]
    if buffers:
        raws = [buffer.raw() for buffer in buffers]
        if any(raw.nbytes < SMALL_BUFFER for raw in raws):
            return _encode_mixed(value, dumps)
        parts += raws
    return parts


def _encode_mixed(value: Any, dumps: Callable[..., bytes]) -> list[Any]:
    raws: list[Any] = []

    def choose(buffer: pickle.PickleBuffer) -> bool:
        raw = buffer.raw()
        if raw.nbytes < SMALL_BUFFER:
            return True
        raws.append(raw)
        return False

    return [dumps(value, PROTOCOL, buffer_callback=choose), *raws]


def decode(parts: list[memoryview]) -> Any:
    if len(parts) == 1:
        return pickle.loads(parts[0])
    return pickle.loads(parts[0], buffers=parts[1:])


# --- the main module --------------------------------------------------------------------------------------------------


class Main:
    """How a worker gets the client's main module, which it loads as the method `spawn` does."""

    def __init__(self, name: str, path: str, source: bytes) -> None:
        self.name = name  # as `python -m name`, or ""
        self.path = path
        self.source = source  # for workers that do not have that file; empty: they have


def main_module(ship: bool = False) -> Main | None:
    """None: there is no file that could be loaded (a prompt, `python -c`, a package's __main__)."""
    main = sys.modules["__main__"]
    name = getattr(getattr(main, "__spec__", None), "name", None) or ""
    path = getattr(main, "__file__", None)
    if name == "__main__" or name.endswith(".__main__") or not path:
        return None
    if not os.path.isabs(path):
        path = os.path.join(process.ORIGINAL_DIR or os.getcwd(), path)  # type: ignore[attr-defined]
    path = os.path.normpath(path)
    if os.path.splitext(os.path.basename(path))[0] == "ipython" or not os.path.isfile(path):
        return None
    source = b""
    if ship:
        with open(path, "rb") as file:
            source = file.read()
    return Main(name, path, source)


def _in_main_file(function: Any, name: str) -> bool:
    code = getattr(function, "__code__", None)
    if code and code.co_filename.startswith("<"):
        return False
    main = main_module()
    return main is not None and _has_in_worker(main, name.partition(".")[0])


def _has_in_worker(main: Main, name: str) -> bool:
    """Does the main module bind this name also where it is not the program that was started?"""
    from muster import bound  # which a worker seldom needs

    names = bound.names(main.path)
    return names is None or name in names


def _only_here(sent: dict[str, Any]) -> dict[str, Any]:
    """Those of the main module's globals that it does not bind in a worker, as far as they can be pickled."""
    main = main_module()
    if main is None:
        return {}
    return {name: value for name, value in sent.items() if not _has_in_worker(main, name) and _can_travel(value)}


def _can_travel(value: Any) -> bool:
    if isinstance(value, _ATOMS):
        return True
    try:
        value_pickler(io.BytesIO()).dump(value)
    except Exception:
        return False
    return True


# --- by reference -----------------------------------------------------------------------------------------------------


def _by_value_modules() -> set[str]:
    cloudpickle = sys.modules.get("cloudpickle")
    return cloudpickle.list_registry_pickle_by_value() if cloudpickle else set()


def _goes_by_value(module: str) -> bool:
    registered = _by_value_modules()
    while registered and module:
        if module in registered:
            return True
        module = module.rpartition(".")[0]
    return False


def reference(function: Any) -> tuple[str, str] | None:
    """Module and qualified name by which a worker finds this very object, or None."""
    name = getattr(function, "__qualname__", None)
    if not isinstance(name, str):
        return None
    module: Any = getattr(function, "__module__", None) or pickle.whichmodule(function, name)  # type: ignore[attr-defined]
    found: Any = sys.modules.get(module)
    if found is None:
        return None
    if module in ("__main__", "__mp_main__"):
        module = "__main__"
        if not _in_main_file(function, name):
            return None
    elif getattr(found, "__spec__", None) is None or _goes_by_value(module):
        return None
    try:
        for part in name.split("."):
            found = getattr(found, part)
    except AttributeError:
        return None
    return (module, name) if found is function else None


# --- by value ---------------------------------------------------------------------------------------------------------


class _Space:
    """Stands for the globals of a module in a pickle."""

    def __init__(self, name: str, importable: bool) -> None:
        self.name, self.importable = name, importable

    def __reduce__(self) -> tuple[Any, ...]:
        return find_space, (self.name, self.importable)


def _client_space(name: str, importable: bool) -> dict[str, Any]:
    module = sys.modules.get(name)
    if module is None and importable:
        module = importlib.import_module(name)
    return module.__dict__ if module else {"__name__": name}


# Who knows the globals of a module; a worker has its own.
space_finder: Callable[[str, bool], dict[str, Any]] = _client_space


def find_space(name: str, importable: bool) -> dict[str, Any]:
    return space_finder(name, importable)


def make_function(code: types.CodeType, space: dict[str, Any], cells: int) -> types.FunctionType:
    if MISSING_MODULE in space:
        from cloudpickle import cloudpickle

        if any(not hasattr(builtins, name) for name in cloudpickle._extract_code_globals(code)):
            raise space[MISSING_MODULE]
    space.setdefault("__builtins__", __builtins__)
    closure = tuple(types.CellType() for _ in range(cells)) if cells else None
    return types.FunctionType(code, space, code.co_name, None, closure)


def set_function(function: Any, state: tuple[dict[str, Any], dict[str, Any]]) -> None:
    from cloudpickle import cloudpickle

    space = function.__globals__
    sent = state[1]["__globals__"]
    placed = space.setdefault(_PLACED, {}) if sent else {}
    for name, value in sent.items():
        if name not in space or (name in placed and space[name] is placed[name]):
            space[name] = placed[name] = value
    state[1]["__globals__"] = {}
    cloudpickle._function_setstate(function, state)


class _Seen:
    """A function as it was when it was pickled, with the globals that were sent along."""

    def __init__(self, function: types.FunctionType, cells: tuple[Any, ...], sent: dict[str, Any]) -> None:
        self.function = function
        self.code = function.__code__
        self.defaults = function.__defaults__
        self.keywords = function.__kwdefaults__
        self.cells = cells
        self.names = tuple(sent)
        self.values = tuple(sent.values())

    def same(self) -> bool:
        function = self.function
        if (
            function.__code__ is not self.code
            or function.__defaults__ is not self.defaults
            or function.__kwdefaults__ is not self.keywords
        ):
            return False
        for cell, value in zip(function.__closure__ or (), self.cells):
            if _content(cell) is not value:
                return False
        space = function.__globals__
        return all(space.get(name, _MISSING) is value for name, value in zip(self.names, self.values))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _lasting(values: Any) -> bool:
    return all(value is _MISSING or isinstance(value, _ATOMS) for value in values)


_pickler_class: Any = None


def value_pickler(file: Any, buffer_callback: Any = None) -> Any:
    """A pickler that can do what pickle cannot: functions and classes without a name by which a worker finds them."""
    global _pickler_class
    if _pickler_class is None:
        _pickler_class = _make_pickler_class()
    return _pickler_class(file, protocol=PROTOCOL, buffer_callback=buffer_callback)


def _make_pickler_class() -> Any:
    from cloudpickle import cloudpickle

    class_makers = (cloudpickle._make_skeleton_class, cloudpickle._make_skeleton_enum)

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def __init__(self, file: Any, protocol: int, buffer_callback: Any) -> None:
            super().__init__(file, protocol=protocol, buffer_callback=buffer_callback)
            self.seen: list[_Seen] = []
            self.lasting = True  # nothing that was pickled can change without our seeing it
            self.spaces: dict[int, _Space] = {}

        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, type):
                if value.__module__ in ("__main__", "__mp_main__") and reference(value):
                    return NotImplemented
                reduced = super().reducer_override(value)
                if isinstance(reduced, tuple) and reduced[0] in class_makers:
                    self.lasting = False
                return reduced
            if isinstance(value, types.FunctionType):
                return NotImplemented if reference(value) else self.reduce_function(value)
            return super().reducer_override(value)

        def reduce_function(self, function: types.FunctionType) -> Any:
            space = self.space(function)
            state = cloudpickle._function_getstate(function)
            sent = state[1]["__globals__"]
            if space.importable:
                sent = _only_here(sent) if space.name in ("__main__", "__mp_main__") else {}
                state[1]["__globals__"] = sent
            cells = tuple(_content(cell) for cell in function.__closure__ or ())
            seen = _Seen(function, cells, sent)
            self.seen.append(seen)
            defaults = [*(seen.defaults or ()), *(seen.keywords or {}).values()]
            if function.__dict__ or not (_lasting(cells) and _lasting(seen.values) and _lasting(defaults)):
                self.lasting = False
            return make_function, (function.__code__, space, len(cells)), state, None, None, set_function

        def space(self, function: types.FunctionType) -> _Space:
            space = function.__globals__
            known = self.spaces.get(id(space))
            if known is None:
                name = space.get("__name__") or "__muster_unnamed__"
                known = self.spaces[id(space)] = _Space(name, _importable(name, space))
            return known

    return Pickler


def _importable(name: str, space: dict[str, Any]) -> bool:
    """Can a worker get these globals by importing their module?"""
    if name in ("__main__", "__mp_main__"):
        return sys.modules["__main__"].__dict__ is space and main_module() is not None
    module = sys.modules.get(name)
    return (
        module is not None
        and module.__dict__ is space
        and getattr(module, "__spec__", None) is not None
        and not _goes_by_value(name)
    )


class ByValue(list):  # type: ignore[type-arg]
    """Parts that only workers of our Python version understand."""


def encode_by_value(value: Any) -> ByValue:
    file = io.BytesIO()

    def dumps(value: Any, protocol: int, buffer_callback: Any) -> bytes:
        file.seek(0)
        file.truncate()
        value_pickler(file, buffer_callback).dump(value)
        return file.getvalue()

    return ByValue(encode(value, dumps))


def encode_alone(value: Any, by_value: bool, prompt: bool = False) -> bytes:
    """One pickle with all its buffers in it; `by_value`: also of what has no name by which it is found; `prompt`: which
    is so for all of __main__."""
    try:
        data = pickle.dumps(value, PROTOCOL)
        if not (prompt and b"__main__" in data):
            return data
    except (pickle.PicklingError, AttributeError, TypeError):
        if not by_value:
            raise
    file = io.BytesIO()
    value_pickler(file).dump(value)
    return file.getvalue()


# --- what a pool calls ------------------------------------------------------------------------------------------------


class Entry:
    """A callable as a pool calls it."""

    __slots__ = ("definition", "name", "travels", "versioned", "seen")

    def __init__(self, definition: Any, name: str, travels: Any = None, versioned: bool = False) -> None:
        self.definition = definition
        self.name = name  # for messages
        self.travels = travels  # the callable, if it is to be sent with the arguments
        self.versioned = versioned  # only workers of our Python version understand it
        self.seen: list[_Seen] | None = None  # by value: to be pickled anew if one of them is not the same

    def usable(self) -> bool:
        return self.seen is None or all(seen.same() for seen in self.seen)


def name_of(function: Any) -> str:
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None)
    return f"{module}.{name}" if module and module not in ("builtins", "__main__", "__mp_main__") else str(name)


class Encoder:
    """What one pool knows of the callables that it was given. `define` makes a definition of (body, labels)."""

    def __init__(
        self, define: Callable[[bytes, tuple[str, ...]], Any], client: bytes, preamble: bytes, prompt: bool
    ) -> None:
        self.define = define
        self.client = client
        self.preamble = preamble
        self.prompt = prompt  # what is defined in __main__ cannot be found by its name
        self.entries: dict[Any, Entry] = {}
        self.travelling: Any = None
        self.values: dict[bytes, Any] = {}  # definitions by their content
        self.value_bytes = 0

    def entry(self, function: Any) -> Entry:
        """What to call for a callable: from the cache if it is one that can be told by identity."""
        try:
            entry = self.entries[function]
            if entry.seen is None or entry.usable():
                return entry
        except (KeyError, TypeError):
            pass
        return self.make(function)

    def make(self, function: Any) -> Entry:
        if not callable(function):
            raise TypeError(f"{function!r} is not callable")
        if isinstance(function, types.FunctionType):
            found = reference(function)
            if found is None:
                return self.make_value(function)
        elif isinstance(function, type) or (
            isinstance(function, types.BuiltinFunctionType) and isinstance(function.__self__, types.ModuleType)
        ):
            found = reference(function)
        else:
            found = None
        if found is None:
            return self.travel(function)
        body = self.body(REFERENCE, found)
        entry = self.entries[function] = Entry(self.define(body, ()), name_of(function))
        return entry

    def body(self, how: int, content: Any) -> bytes:
        return pickle.dumps((self.client, self.preamble, how, content), 4)

    def make_value(self, function: Any) -> Entry:
        file = io.BytesIO()
        pickler = value_pickler(file)
        pickler.dump(function)
        content = file.getvalue()
        definition = self.values.get(content)
        if definition is None:
            if len(self.values) >= VALUES_MAX or self.value_bytes + len(content) > VALUE_BYTES_MAX:
                return self.travel(function)
            definition = self.values[content] = self.define(self.body(VALUE, content), (PYTHON_LABEL,))
            self.value_bytes += len(content)
        entry = Entry(definition, name_of(function), versioned=True)
        if pickler.lasting:
            entry.seen = pickler.seen
            self.entries[function] = entry
        else:
            self.entries.pop(function, None)
        return entry

    def travel(self, function: Any) -> Entry:
        if self.travelling is None:
            self.travelling = self.define(self.body(TRAVELS, None), (PYTHON_LABEL,))
        return Entry(self.travelling, name_of(function), function, versioned=True)

    def encode(self, value: Any) -> list[Any]:
        """[pickle, buffer...] of arguments: by pickle if it can be, by value what has no name."""
        try:
            parts = encode(value)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            try:
                return encode_by_value(value)
            except (pickle.PicklingError, AttributeError, TypeError):
                raise error from None
        if self.prompt and b"__main__" in parts[0]:
            return encode_by_value(value)
        return parts

    def payload(self, entry: Entry, kind: bytes, value: Any) -> Sequence[Any]:
        if entry.travels is None:
            if not self.prompt:  # the way of nearly all calls
                buffers: list[Any] = []
                try:
                    data = pickle.dumps(value, PROTOCOL, buffer_callback=buffers.append)
                    if not buffers:
                        return kind, data
                except (pickle.PicklingError, AttributeError, TypeError):
                    pass
            parts = self.encode(value)
            parts.insert(0, kind)
            return parts
        return [bytes((kind[0] | WITH_CALLABLE,)), *self.encode((entry.travels, value))]
