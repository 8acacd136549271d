"""The names that a script has in a worker.

A worker loads the client's script under another __name__, so what stands below `if __name__ == "__main__":` is not
there: functions from there, and globals that a lambda reads, must travel by value. What the file binds is read from its
text.
"""

from __future__ import annotations

import ast
import functools
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def names(path: str) -> frozenset[str] | None:
    """The names that the file binds wherever it is loaded; None: all that there are, as far as can be told."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return _names(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=4)
def _names(path: str, changed_ns: int, size: int) -> frozenset[str] | None:
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
    except (OSError, SyntaxError, ValueError):
        return None
    binder = _Binder()
    binder.visit(tree)
    return None if binder.unknown else frozenset(binder.names)


def _is_guard(test: ast.expr) -> bool:
    if not (isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq)):
        return False
    sides = [test.left, test.comparators[0]]
    return any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides) and any(
        isinstance(side, ast.Constant) and side.value == "__main__" for side in sides
    )


class _Binder(ast.NodeVisitor):
    def __init__(self) -> None:
        self.names: set[str] = set()
        self.unknown = False

    def visit_If(self, node: ast.If) -> None:
        if not _is_guard(node.test):
            self.generic_visit(node)
        for statement in node.orelse if _is_guard(node.test) else ():
            self.visit(statement)

    def define(self, node: Any) -> None:
        self.names.add(node.name)  # what is bound inside is not the module's

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = define

    def skip(self, node: ast.AST) -> None:
        """A scope of its own."""

    visit_Lambda = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = skip

    def visit_alias(self, node: ast.alias) -> None:
        self.unknown = self.unknown or node.name == "*"
        self.names.add(node.asname or node.name.partition(".")[0])

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.names.add(node.id)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self.names.add(node.name)
        self.generic_visit(node)

    def capture(self, node: Any) -> None:
        if node.name:
            self.names.add(node.name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = capture
