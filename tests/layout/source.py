"""Reads the source of the package and the scripts: their modules, imports and classes, without importing any of it."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Import:
    """One imported module. `at_import_time` is False inside functions and under `if TYPE_CHECKING`."""

    target: str
    name: str | None  # what `from target import name` takes out of the module
    line: int
    at_import_time: bool


@dataclass(frozen=True)
class Module:
    """One source file. `file` is relative to the repository's root."""

    name: str
    file: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def part(self) -> str:
        """The folder or module directly under `verifier` that this module belongs to; "" for the package itself."""
        return part_of(self.name)

    def at(self, line: int) -> str:
        """Return a place in this file as editors understand it."""
        return f"{self.file}:{line}"


@cache
def modules(top: str) -> dict[str, Module]:
    """Read every module below the folder `top`, by dotted name."""
    files = {_dotted(file.relative_to(ROOT)): file for file in sorted((ROOT / top).rglob("*.py"))}
    found = {}
    for name, file in files.items():
        tree = ast.parse(file.read_bytes())
        imports = tuple(_imports(tree.body, files.keys(), at_import_time=True))
        found[name] = Module(name, file.relative_to(ROOT), tree, imports)
    return found


def part_of(name: str) -> str:
    """Return what follows `verifier.` in a dotted name, up to the next dot."""
    return [*name.split("."), ""][1]


def _dotted(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(body: list[ast.stmt], known: Container[str], at_import_time: bool) -> Iterator[Import]:
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield Import(alias.name, None, statement.lineno, at_import_time)
        elif isinstance(statement, ast.ImportFrom):
            assert statement.module is not None
            assert statement.level == 0, "imports are absolute"
            yield from _imported_from(statement, statement.module, known, at_import_time)
        else:
            now = at_import_time and not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
                now = False
            for block in _blocks(statement):
                yield from _imports(block, known, now)


def _imported_from(
    statement: ast.ImportFrom, module: str, known: Container[str], at_import_time: bool
) -> Iterator[Import]:
    """`from package import module` imports the module; `from module import name` takes a name out of it."""
    for alias in statement.names:
        submodule = f"{module}.{alias.name}"
        if submodule in known:
            yield Import(submodule, None, statement.lineno, at_import_time)
        else:
            yield Import(module, alias.name, statement.lineno, at_import_time)


def _blocks(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    """Every list of statements inside a statement: bodies, branches, handlers, cases."""
    for field in ("body", "orelse", "finalbody"):
        block = getattr(statement, field, None)
        if isinstance(block, list):
            yield block
    for inner in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield inner.body
