"""The public surface of verifier.tasks: each name can be imported, and importing the package is cheap."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import verifier.tasks


@pytest.mark.parametrize("name", verifier.tasks.__all__)
def test_tasks__public_name__can_be_imported(name: str) -> None:
    assert getattr(verifier.tasks, name).__name__ == name or name in ("OnStep", "ServerUrl")  # aliases of types


def test_tasks__public_names__are_sorted_and_unique() -> None:
    assert sorted(set(verifier.tasks.__all__)) == verifier.tasks.__all__


def test_tasks__unknown_name__is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="^module 'verifier.tasks' has no attribute 'unknown'$"):
        _ = verifier.tasks.unknown


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import verifier.tasks", {"torch", "transformers", "peft", "onnx", "onnxruntime", "click"}),
        (
            "from verifier.tasks import pack, find_kind; find_kind('classify')",
            {"torch", "transformers", "peft", "onnx"},
        ),
        ("from verifier.tasks import score", {"torch", "transformers", "peft"}),
        ("import verifier.tasks.kinds.classify.pack", {"torch", "transformers", "peft", "onnx"}),
    ],
)
def test_tasks__import__does_not_load_heavy_libraries(statement: str, heavy: set[str]) -> None:
    report = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, timeout=120, check=True)
    assert not heavy.intersection(json.loads(done.stdout))
