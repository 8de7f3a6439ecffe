"""Every revert reason, event and function of the contracts is named by a test.

A reason or an event counts when a test of the contracts or of the attacks has it as a whole string; a function counts
when one of these tests or the harness calls it.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.evm import ROOT

# The reason stands at the end of the last line of an assert.
REASON = re.compile(r'^\s*(?:assert\b.*|\).*), "([^"]+)"$', re.MULTILINE)
CHECK = re.compile(r"^\s*(?:assert|raise)\b", re.MULTILINE)
CONTRACTS = ("Stakes", "Panel", "Bounties")


def sources() -> list[Path]:
    """The contracts and their modules, without the contracts that only tests deploy."""
    return [path for path in sorted((ROOT / "contracts").rglob("*.vy")) if "mocks" not in path.parts]


def reasons() -> list[tuple[str, str]]:
    """The file and the reason of every check."""
    return sorted({(path.name, reason) for path in sources() for reason in REASON.findall(path.read_text("utf-8"))})


def of_abi(kind: str) -> list[tuple[str, str]]:
    """The contract and the name of every function or event."""
    found = set()
    for contract in CONTRACTS:
        abi = json.loads((ROOT / "verifier" / "chain" / "abi" / f"{contract}.json").read_text("utf-8"))
        found |= {(contract, entry["name"]) for entry in abi if entry["type"] == kind}
    return sorted(found)


def _nodes(*patterns: str) -> Iterator[ast.AST]:
    for pattern in patterns:
        for path in (ROOT / "tests").glob(pattern):
            yield from ast.walk(ast.parse(path.read_text("utf-8")))


@cache
def said() -> frozenset[str]:
    """Every string constant in the tests of contracts and attacks."""
    nodes = _nodes("contracts/*.py", "attacks/*.py")
    return frozenset(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@cache
def called() -> frozenset[str]:
    """Every attribute that these tests or the harness use."""
    nodes = _nodes("contracts/*.py", "attacks/*.py", "harness.py")
    return frozenset(node.attr for node in nodes if isinstance(node, ast.Attribute))


@pytest.mark.parametrize(("file", "reason"), reasons())
def test_reason__of_a_check__is_asserted_by_a_test(file: str, reason: str) -> None:
    assert reason in said(), f"no test asserts {reason!r} of {file}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.name)
def test_reason__of_every_check__is_found(path: Path) -> None:
    """Fails for a check without a reason, and for one that the pattern does not match."""
    text = path.read_text("utf-8")
    assert len(REASON.findall(text)) == len(CHECK.findall(text))


@pytest.mark.parametrize(("contract", "event"), of_abi("event"))
def test_event__of_a_contract__is_asserted_by_a_test(contract: str, event: str) -> None:
    assert event in said(), f"no test asserts {event} of {contract}"


@pytest.mark.parametrize(("contract", "function"), of_abi("function"))
def test_function__of_a_contract__is_called_by_a_test(contract: str, function: str) -> None:
    assert function in called() or function in said(), f"no test calls {function} of {contract}"
