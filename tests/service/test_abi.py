"""The ABIs the verifier carries are those of the contracts."""

from __future__ import annotations

import pytest

from verifier.chain.contracts import as_struct, load_abi

pytest.importorskip("vyper", reason="vyper is not installed: the `contracts` extra brings it")
from scripts.abi import FOLDER, NAMES, compile_abi


@pytest.mark.parametrize("name", NAMES)
def test_abi__compiled_again__is_the_one_carried(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text("utf-8") == compile_abi(name), "stale: run `python -m scripts.abi`"


@pytest.mark.parametrize("name", NAMES)
def test_load_abi__in_the_package__is_found(name: str) -> None:
    assert any(entry["type"] == "function" for entry in load_abi(name))


def test_as_struct__contract_has_more_fields__takes_those_it_knows_by_name() -> None:
    from collections import namedtuple

    from verifier.chain.contracts import TaskView

    answer = namedtuple("answer", "extra phase created_at sponsor revealed submissions")(0, 6, 7, "0xaa", 1, 2)
    assert as_struct(TaskView, answer) == TaskView(sponsor="0xaa", created_at=7, phase=6, submissions=2, revealed=1)  # type: ignore[arg-type]
