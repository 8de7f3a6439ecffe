"""The self-test passes on this machine, and refuses one whose arithmetic differs."""

import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from verifier.exact import SelfTestError, self_test
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.runtime import engine
from verifier.exact.vectors import load_vectors

# fesetround's constants in the C library's <fenv.h>.
ROUNDING_MODES = {
    "x86_64": {"downward": 0x400, "upward": 0x800, "towards zero": 0xC00},
    "aarch64": {"downward": 0x800000, "upward": 0x400000, "towards zero": 0xC00000},
}

BROKEN = """
import ctypes, sys
from verifier.exact import SelfTestError, self_test
if ctypes.CDLL(None).fesetround(int(sys.argv[1])) != 0:
    sys.exit("no such rounding mode")
try:
    self_test()
except SelfTestError as error:
    print(error)
"""


def test_self_test__this_machine__runs_every_vector() -> None:
    assert self_test() == len(load_vectors()) > 80


@pytest.mark.parametrize("mode", ["downward", "upward", "towards zero"])
def test_self_test__processor_rounds_otherwise__is_refused(mode: str) -> None:
    constants = ROUNDING_MODES.get(platform.machine())
    if constants is None:
        pytest.skip(f"rounding modes of {platform.machine()} are not known here")
    child = subprocess.run(
        [sys.executable, "-c", BROKEN, str(constants[mode])], capture_output=True, text=True, timeout=300
    )
    assert child.returncode == 0, child.stderr
    assert "onnxruntime computes" in child.stdout
    assert "sign nothing on this machine" in child.stdout


@pytest.fixture
def break_kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make onnxruntime wrong in one bit of every number wherever a graph has a given operator."""

    def broken(operator: str) -> None:
        class Session(engine.ort.InferenceSession):  # type: ignore[misc]
            def __init__(self, model: bytes, *arguments: Any, **named: Any) -> None:
                super().__init__(model, *arguments, **named)
                self.broken = any(node.op_type == operator for node in onnx.load_from_string(model).graph.node)

            def run_with_ort_values(self, *arguments: Any) -> list[Any]:
                arrays = [np.array(value.numpy()) for value in super().run_with_ort_values(*arguments)]
                if self.broken:
                    size = arrays[0].itemsize
                    # In float64 a bit of the exponent or of the first digits, so that the integer always differs.
                    arrays[0].reshape(-1).view(np.uint8)[6 % size :: size] ^= 1
                return [engine.ort.OrtValue.ortvalue_from_numpy(array) for array in arrays]

        monkeypatch.setattr(engine.ort, "InferenceSession", Session)

    return broken


@pytest.mark.parametrize("operator", sorted(REGISTRY))
def test_self_test__one_kernel_wrong_in_one_bit__names_the_vector(
    break_kernel: Callable[[str], None], operator: str
) -> None:
    break_kernel(operator)
    with pytest.raises(SelfTestError, match=r"vector '\w+/.+': onnxruntime computes .+ where .+ is right"):
        self_test()


def test_self_test__runtime_cannot_load_a_graph__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        def __init__(self, *arguments: Any, **named: Any) -> None:
            raise RuntimeError("Could not find an implementation for Floor(13)")

    monkeypatch.setattr(engine.ort, "InferenceSession", Session)
    with pytest.raises(SelfTestError, match="RuntimeError: Could not find an implementation"):
        self_test()


def test_self_test__no_vectors_installed__is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["verifier.exact.runtime.self_test"], "load_vectors", tuple)
    with pytest.raises(SelfTestError, match="no vectors are installed"):
        self_test()
