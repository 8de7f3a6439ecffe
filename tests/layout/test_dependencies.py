"""Which part of the package may import which, and which may import the large libraries."""

from __future__ import annotations

import ast
from collections.abc import Container, Iterator

import pytest

from tests.layout.source import ROOT, Module, modules, part_of

# The parts of the package, lower ones first, each with the parts that it may import besides itself.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "protocol": {"errors"},
    "exact": {"errors"},
    "artifacts": {"errors", "exact"},
    "tasks": {"errors", "protocol", "exact", "artifacts"},
    "execution": {"errors", "protocol", "artifacts", "tasks"},
    "chain": {"errors", "protocol"},
    "devnet": {"errors"},
    "service": {"errors", "protocol", "exact", "artifacts", "tasks", "execution", "chain"},
    "cli": {"", "errors", "protocol", "exact", "artifacts", "tasks", "execution", "chain", "devnet", "service"},
    "__main__": {"cli"},
    "": set(),
}
# `protocol` computes and does nothing else: no clock, no files, no network.
PURE = {
    *("__future__", "collections", "dataclasses", "enum", "functools", "hashlib", "itertools", "math", "typing"),
    *("eth_abi", "eth_utils"),
}
# Libraries that one part alone may import.
ONLY_IN = {"web3": {"chain"}, "alysis": {"devnet"}, "eth": {"devnet"}, "onnx": {"exact", "tasks"}}


def verifier() -> Iterator[Module]:
    return iter(modules("verifier").values())


def test_parts__on_disk__are_those_of_the_table() -> None:
    entries = {entry.stem for entry in (ROOT / "verifier").iterdir() if entry.suffix == ".py" or entry.is_dir()}
    assert entries - {"__pycache__", "__init__"} == MAY_IMPORT.keys() - {""}


def test_imports__between_parts__follow_the_table() -> None:
    wrong = [
        f"{module.at(item.line)}: {module.part or 'verifier'} must not import {item.target}"
        for module in verifier()
        for item in module.imports
        if item.target.split(".")[0] == "verifier"
        and part_of(item.target) not in MAY_IMPORT[module.part] | {module.part}
    ]
    assert not wrong, "\n".join(wrong)


def test_imports__of_large_libraries__are_in_one_part_alone() -> None:
    wrong = [
        f"{module.at(item.line)}: only {' and '.join(sorted(ONLY_IN[library]))} may import {library}"
        for module in verifier()
        for item in module.imports
        if (library := item.target.split(".")[0]) in ONLY_IN and module.part not in ONLY_IN[library]
    ]
    assert not wrong, "\n".join(wrong)


def test_protocol__imports__only_what_computes() -> None:
    own = ("verifier.protocol", "verifier.errors")
    wrong = [
        f"{module.at(item.line)}: protocol does no I/O and must not import {item.target}"
        for module in verifier()
        if module.part == "protocol"
        for item in module.imports
        if item.target.split(".")[0] not in PURE and not item.target.startswith(own)
    ]
    assert not wrong, "\n".join(wrong)


def test_protocol__calls__no_built_in_that_does_io() -> None:
    wrong = [
        f"{module.at(node.lineno)}: protocol does no I/O and must not call {node.func.id}"
        for module in verifier()
        if module.part == "protocol"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print", "input"}
    ]
    assert not wrong, "\n".join(wrong)


def test_kinds__of_tasks__are_imported_by_nothing_else_and_not_by_each_other() -> None:
    def kind(name: str) -> str | None:
        return name.split(".")[3] if name.startswith("verifier.tasks.kinds.") else None

    wrong = [
        f"{module.at(item.line)}: only the registry loads the kind {kind(item.target)}, by its name"
        for module in verifier()
        for item in module.imports
        if kind(item.target) and kind(module.name) != kind(item.target)
    ]
    assert not wrong, "\n".join(wrong)


def test_package__imports__neither_scripts_nor_tests() -> None:
    wrong = [
        f"{module.at(item.line)}: the package must not import {item.target}"
        for module in verifier()
        for item in module.imports
        if item.target.split(".")[0] in {"scripts", "tests"}
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", ["verifier", "scripts"])
def test_imports__at_import_time__have_no_cycle(top: str) -> None:
    known = modules(top)
    graph = {name: sorted(_executed(module, known.keys())) for name, module in known.items()}
    assert _cycle(graph) is None


def test_private_names__of_a_module__are_not_imported_elsewhere() -> None:
    wrong = [
        f"{module.at(item.line)}: {item.name} is private to {item.target}"
        for module in verifier()
        for item in module.imports
        if item.target.startswith("verifier") and (item.name or "").startswith("_") and item.name != "__version__"
    ]
    assert not wrong, "\n".join(wrong)


def _executed(module: Module, known: Container[str]) -> Iterator[str]:
    """The modules whose code runs when that module is imported first: its imports, and the packages they lie in.

    A package that contains the module itself runs before it and is not run again.
    """
    for item in module.imports:
        if not item.at_import_time:
            continue
        parts = item.target.split(".")
        for end in range(1, len(parts)):
            package = ".".join(parts[:end])
            if package in known and not module.name.startswith(f"{package}.") and package != module.name:
                yield package
        if item.target in known:
            yield item.target


def _cycle(graph: dict[str, list[str]]) -> list[str] | None:
    """Return the first cycle found, from a module back to itself, or None."""
    finished: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str] | None:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in finished:
            return None
        for target in graph[name]:
            found = visit(target, [*path, name])
            if found is not None:
                return found
        finished.add(name)
        return None

    return next((found for name in graph if (found := visit(name, [])) is not None), None)
