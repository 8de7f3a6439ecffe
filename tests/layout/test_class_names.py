"""A class name means one thing: no two classes of the package and the scripts have the same."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.layout.source import modules


def test_class_names__in_the_package_and_the_scripts__are_unique() -> None:
    places: dict[str, list[str]] = defaultdict(list)
    for module in [*modules("verifier").values(), *modules("scripts").values()]:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.at(node.lineno))
    twice = [f"{name}: {' and '.join(found)}" for name, found in sorted(places.items()) if len(found) > 1]
    assert not twice, "\n".join(twice)
