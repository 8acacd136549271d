"""What multiprocessing's contexts offer. A context is where a program gets its names from; its start method decides
nothing here but the names of the workers, which are always forked from a clean parent."""

from __future__ import annotations

import multiprocessing
from typing import Any

from muster import AS_THEY_ARE, MISSING, pool


class _Missing:
    """Stands for a name of multiprocessing that muster does not have: whoever uses it is told so."""

    def __new__(cls, *unused: Any, **unused_too: Any) -> Any:
        raise NotImplementedError(_sentence(cls.__name__))

    def __init_subclass__(cls, placeholder: bool = False) -> None:
        if not placeholder:
            raise NotImplementedError(_sentence(cls.__bases__[0].__name__))


def _sentence(name: str) -> str:
    return f"muster has no {name}; use multiprocessing.{name}, which works beside muster"


_placeholders: dict[str, Any] = {}


def missing(name: str) -> Any:
    """The placeholder for a name in MISSING."""
    if name not in _placeholders:
        make: Any = type
        _placeholders[name] = make(name, (_Missing,), {"__module__": "muster"}, placeholder=True)
    return _placeholders[name]


class Context:
    """What get_context() gives."""

    def __init__(self, standard: Any) -> None:
        self._standard = standard

    def __getattr__(self, name: str) -> Any:
        if name in MISSING:
            return missing(name)
        if name in AS_THEY_ARE:
            return getattr(self._standard, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_context(self, method: str | None = None) -> Context:
        return self if method is None else get_context(method)

    def Pool(
        self,
        processes: int | None = None,
        initializer: Any = None,
        initargs: Any = (),
        maxtasksperchild: Any = None,
        **more: Any,
    ) -> pool.Pool:
        return pool.Pool(processes, initializer, initargs, maxtasksperchild, self._standard, **more)


def get_context(method: str | None = None) -> Context:
    return Context(multiprocessing.get_context(method))
