"""Each part of the package defines its errors in one module, whose first lines draw their tree."""

from __future__ import annotations

import ast
import re

from tests.layout.source import Module, modules

DRAWN = re.compile(r"^(?:[├└]── )?([A-Z]\w+)(?: {2,}.*)?$", re.MULTILINE)


def error_modules() -> dict[str, Module]:
    """The errors.py of every part, by part."""
    return {module.part: module for module in modules("verifier").values() if module.name.endswith(".errors")}


def classes(module: Module) -> set[str]:
    return {node.name for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)}


def test_tree__of_every_part__shows_exactly_the_errors_of_that_part() -> None:
    for part, module in error_modules().items():
        if part != "errors":
            drawn = set(DRAWN.findall(ast.get_docstring(module.tree) or ""))
            assert drawn == classes(module), module.file


def test_tree__of_the_package__names_parts_and_errors_that_exist() -> None:
    known = error_modules()
    rows = re.findall(r"verifier\.(\w+) +(.+)", ast.get_docstring(known["errors"].tree) or "")
    assert {part for part, _ in rows} == known.keys() - {"errors"}
    for part, names in rows:
        assert set(re.findall(r"\w+", names)) <= classes(known[part]), part
