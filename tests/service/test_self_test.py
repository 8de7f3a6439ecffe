"""A service on a machine that rounds differently refuses to start: it would sign a verdict that others do not find."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# As an operator types it, on a processor told to round upward (fesetround of the C library).
UPWARD = {"x86_64": 0x800, "aarch64": 0x400000}
COMMAND = """
import ctypes, sys
assert ctypes.CDLL(None).fesetround(int(sys.argv.pop(1))) == 0
from verifier.cli.main import main
main()
"""

CONFIG = """
data = "data"
[chain]
rpc_url = "http://127.0.0.1:9"
chain_id = 31337
bounties = "0x00000000000000000000000000000000000000aa"
[operator]
seed_file = "seed"
"""


@pytest.mark.skipif(
    platform.machine() not in UPWARD or not hasattr(ctypes.CDLL(None), "fesetround"),
    reason="how this processor is told to round upward is not known here",
)
def test_run__processor_rounds_upward__does_not_start(tmp_path: Path) -> None:
    (tmp_path / "service.toml").write_text(CONFIG)
    service = subprocess.run(
        [sys.executable, "-c", COMMAND, str(UPWARD[platform.machine()]), "run", "--config", "service.toml"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert service.returncode == 1, service.stdout + service.stderr
    assert "onnxruntime computes" in service.stderr
    assert "sign nothing on this machine" in service.stderr
    assert "self-test passed" not in service.stdout + service.stderr
    assert not (tmp_path / "data" / "journal.sqlite").exists()
