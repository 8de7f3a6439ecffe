"""The ABIs in the verifier package are those of the contracts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.protocol.states import task_view
from verifier.chain.contracts import load_abi
from verifier.protocol.constants import Phase
from verifier.protocol.views import TaskView, from_abi

pytest.importorskip("vyper", reason="vyper is not installed: the `contracts` extra brings it")
from scripts.abi import FOLDER, NAMES, compile_abi


@pytest.mark.parametrize("name", NAMES)
def test_abi__compiled_again__equals_the_packaged_one(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == compile_abi(name), "stale: run `python -m scripts.abi`"


@pytest.mark.parametrize("name", NAMES)
def test_load_abi__in_the_package__is_found(name: str) -> None:
    assert any(entry["type"] == "function" for entry in load_abi(name))


def test_from_abi__contract_has_more_fields__takes_those_it_knows_by_name() -> None:
    expected = task_view(Phase.JUDGING, created_at=7, submissions=2, revealed=1)
    answer = SimpleNamespace(extra=0, **vars(expected) | {"phase": 6})
    found = from_abi(TaskView, answer)
    assert found == expected
    assert found.phase is Phase.JUDGING


def test_from_abi__number_that_is_no_member__is_an_error() -> None:
    with pytest.raises(ValueError, match="9 is not a valid Phase"):
        from_abi(TaskView, SimpleNamespace(**vars(task_view(Phase.JUDGING)) | {"phase": 9}))
