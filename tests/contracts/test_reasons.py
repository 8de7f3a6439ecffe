"""Every reason with which the contracts revert is asserted, whole, by a test of the contracts or of the attacks."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.evm import ROOT

# The reason of an assert ends its line; of one that spans lines, its last.
REASON = re.compile(r'^\s*(?:assert\b.*|\).*), "([^"]+)"$', re.MULTILINE)
RAISE = re.compile(r'^\s*raise "([^"]+)"$', re.MULTILINE)


def reasons() -> list[tuple[str, str]]:
    """Contract file and reason of every assert and raise, the test contracts' own left out."""
    found = set()
    for path in sorted((ROOT / "contracts").rglob("*.vy")):
        if "mocks" not in path.parts:
            text = path.read_text("utf-8")
            found |= {(path.name, reason) for pattern in (REASON, RAISE) for reason in pattern.findall(text)}
    return sorted(found)


@cache
def said_in_tests() -> frozenset[str]:
    """Every string constant in the tests of contracts and attacks."""
    said = set()
    for folder in ("contracts", "attacks"):
        for path in (ROOT / "tests" / folder).glob("*.py"):
            nodes = ast.walk(ast.parse(path.read_text("utf-8")))
            said |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return frozenset(said)


@pytest.mark.parametrize(("file", "reason"), reasons())
def test_reason__of_a_contract__is_asserted_by_a_test(file: str, reason: str) -> None:
    assert reason in said_in_tests(), f"no test asserts {reason!r} of {file}"


def test_reasons__collected__are_as_many_as_there_are_checks() -> None:
    """A check without a reason, or one that the pattern above overlooks, fails here."""
    for path in sorted((ROOT / "contracts").rglob("*.vy")):
        if "mocks" not in path.parts:
            text = path.read_text("utf-8")
            checks = len(re.findall(r"^\s*(?:assert|raise)\b", text, re.MULTILINE))
            assert len(REASON.findall(text)) + len(RAISE.findall(text)) == checks, path.name
