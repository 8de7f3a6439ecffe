"""The reference interpreter: the specification of what an exact program computes, on integers.

Every tensor is its q as int64, and the proof guarantees that nothing here overflows. No float is computed anywhere. It
is slow: the engine is the fast path, and must agree with it bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import FeedError
from verifier.exact.program.instructions import REGISTRY, Operands
from verifier.exact.program.proof import Program


def check_feeds(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Check that feeds are what a program declares; returns them in the program's order.

    Errors: FeedError names the input and what it should be.
    """
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
    """Evaluate a program on integers.

    `feeds` maps input names to arrays of the declared dtype and shape. Returns the q of each output as int64, in the
    program's order. Errors: FeedError.
    """
    everything = trace(program, feeds)
    return {item.name: everything[item.name] for item in program.outputs}


def trace(program: Program, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int64]]:
    """Evaluate like `run`, but return the q of every input, computed tensor and output by name. Errors: FeedError."""
    values = program.values
    q: dict[str, NDArray[Any]] = {name: x.astype(np.int64) for name, x in check_feeds(program, feeds).items()}

    def read(name: str) -> NDArray[Any] | None:
        if name == "":
            return None
        constant = values[name].constant
        return q[name] if constant is None else constant.astype(np.int64)

    for instruction in program.live_instructions:
        operands = Operands(
            attributes=instruction.attributes,
            inputs=[values[name] if name else None for name in instruction.inputs],
            q=[read(name) for name in instruction.inputs],
            outputs=[values[name] for name in instruction.outputs],
        )
        results = REGISTRY[instruction.op].compute(operands)
        for output, result in zip(operands.outputs, results, strict=True):
            q[output.name] = np.asarray(result, np.int64).reshape(output.shape)
    for item in program.outputs:
        if item.name not in q:
            found = read(item.name)
            assert found is not None
            q[item.name] = found
    return q
