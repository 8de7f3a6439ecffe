"""The engine: an exact program on onnxruntime.

It emits its own graph from the Program, so that a stranger's bytes never reach the runtime, and pins the session: with
graph optimisations on, stock onnxruntime returns wrong integers on exact graphs (a fused transposed product with a
vector, scales rounded to float32), so they are off; that costs nothing measurable.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import SelfTestError
from verifier.exact.program import Program, Tensor
from verifier.exact.program.reference import check_feeds
from verifier.exact.program.values import FLOAT
from verifier.exact.runtime.byte_emission import BytesExact
from verifier.exact.runtime.byte_products import exact_here
from verifier.exact.runtime.emission import emit
from verifier.exact.runtime.session import PROVIDER, ort, session_options


class Engine:
    """A program loaded into onnxruntime. Not for use from several threads at once."""

    def __init__(self, program: Program, threads: int = 1, bytes_exact: BytesExact | None = None) -> None:
        """Emit and load. `threads` computes one operator in parallel; it cannot change a bit.

        `bytes_exact` says in which shapes products of bytes are right; left out, this machine is asked.

        Errors: SelfTestError when this onnxruntime does not offer what a pinned session needs.
        """
        self.program = program
        model, constants = emit(program, bytes_exact or partial(exact_here, threads=threads))
        # Values over these arrays, not copies of them; initialisers, even external ones, onnxruntime would copy.
        self._constants = {name: ort.OrtValue.ortvalue_from_numpy(array) for name, array in constants.items()}
        self._session = ort.InferenceSession(model.SerializeToString(), session_options(threads), providers=[PROVIDER])
        if self._session.get_providers() != [PROVIDER]:
            raise SelfTestError(f"onnxruntime runs on {self._session.get_providers()}, not on {PROVIDER} alone")

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
        """Evaluate. `feeds` as for the reference; returns each output's q as int64. Errors: FeedError."""
        checked = check_feeds(self.program, feeds)
        names = [f"out{number}" for number in range(len(self.program.outputs))]
        inputs = {
            f"in{number}": ort.OrtValue.ortvalue_from_numpy(np.require(array, requirements="C"))
            for number, array in enumerate(checked.values())
        }
        results = self._session.run_with_ort_values(names, inputs | self._constants)
        return {item.name: _q(item, value.numpy()) for item, value in zip(self.program.outputs, results, strict=True)}


def _q(item: Tensor, array: NDArray[Any]) -> NDArray[np.int64]:
    """Integers of an output; -0.0 becomes 0 here, before anything is hashed."""
    if item.dtype != FLOAT:
        return array.astype(np.int64)
    return np.ldexp(array, -item.grid).astype(np.int64)
