"""The reference interpreter: the specification, in integers.

Every tensor is its q, as int64; the proof says that nothing here overflows. No float is computed anywhere. It is slow;
the engine is the fast path and has to agree to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import FeedError
from verifier.exact.program import Program
from verifier.exact.program.instructions import REGISTRY


def check_feeds(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The feeds in the program's order. Errors: FeedError naming the input and what it should be."""
    unknown = sorted(set(feeds) - {item.name for item in program.inputs})
    if unknown:
        raise FeedError(f"no input is called {unknown[0]!r}; inputs are {[item.name for item in program.inputs]}")
    checked = {}
    for item in program.inputs:
        array = feeds.get(item.name)
        if array is None:
            raise FeedError(f"input {item.name!r} is missing")
        if array.dtype != np.dtype(item.dtype) or array.shape != item.shape:
            raise FeedError(
                f"input {item.name!r} is {array.dtype}{list(array.shape)}, it should be {item.dtype}{list(item.shape)}"
            )
        checked[item.name] = array
    return checked


def run(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
    """Evaluate on integers. `feeds` maps input names to arrays of the declared dtype and shape.

    Returns each output's q as int64, in the program's order. Errors: FeedError.
    """
    everything = trace(program, feeds)
    return {item.name: everything[item.name] for item in program.outputs}


def trace(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
    """Like `run`, but with the q of every tensor that is computed: for tests and for comparing layers."""
    values = program.values
    q: dict[str, NDArray[Any]] = {name: x.astype(np.int64) for name, x in check_feeds(program, feeds).items()}

    def read(name: str) -> NDArray[Any] | None:
        if name == "":
            return None
        constant = values[name].constant
        return q[name] if constant is None else constant.astype(np.int64)

    for instruction in program.live_instructions:
        operator = REGISTRY[instruction.op]
        arguments = [values[name] if name else None for name in instruction.inputs]
        outputs = [values[name] for name in instruction.outputs]
        results = operator.compute(
            instruction.attributes, arguments, [read(name) for name in instruction.inputs], outputs
        )
        for output, result in zip(outputs, results, strict=True):
            q[output.name] = np.asarray(result, np.int64).reshape(output.shape)
    for item in program.outputs:
        if item.name not in q:
            found = read(item.name)
            assert found is not None
            q[item.name] = found
    return q
