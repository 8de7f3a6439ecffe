"""The trainer that the README prints, run as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.layout.source import ROOT
from tests.tasks.conftest import BuiltTask
from verifier.artifacts import tensors
from verifier.tasks.kinds.classify.pack import pack

MAX_LINES = 20


def test_recipe__as_printed__writes_an_adapter_that_packs_without_a_remark(task: BuiltTask, tmp_path: Path) -> None:
    (recipe,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(recipe.splitlines()) <= MAX_LINES
    (tmp_path / "MODEL").symlink_to(task.options.base)
    (tmp_path / "task").symlink_to(task.folder)
    command = [sys.executable, "-c", recipe]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    packed = pack(tmp_path / "adapter", task.manifest)
    assert "remarks" not in packed.report
    found = tensors.decode(task.manifest.submission_schema, packed.data)
    assert all(array.any() for array in found.values())
