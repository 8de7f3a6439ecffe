"""The self-test: does this machine compute exactly?

It runs every literal vector on the installed onnxruntime and on the reference interpreter. The vectors include edge
cases of division and square root, the only ones that notice a changed rounding mode. A verifier runs it before it signs
anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.errors import SelfTestError
from verifier.exact.program import load_program, reference
from verifier.exact.runtime.engine import Engine
from verifier.exact.vectors import Vector, load_vectors


def self_test() -> int:
    """Run every literal vector, which takes about a second; returns how many there are.

    Errors: SelfTestError names the vector that comes out differently; this machine must not sign anything.
    """
    vectors = load_vectors()
    if not vectors:
        raise SelfTestError("no vectors are installed: reinstall Touchstone")
    for vector in vectors:
        try:
            _examine(vector)
        except SelfTestError:
            raise
        except Exception as error:  # a runtime that cannot load or run a vector is as unusable as one that is wrong
            raise SelfTestError(f"vector {vector.name!r}: {type(error).__name__}: {error}") from error
    return len(vectors)


def _examine(vector: Vector) -> None:
    program = load_program(vector.model())
    grids = {item.name: item.grid for item in program.outputs}
    if grids != vector.grids():
        raise SelfTestError(f"vector {vector.name!r}: outputs lie on grids {grids}, not {vector.grids()}")
    feeds = vector.feeds()
    _compare(vector, "the reference interpreter", reference.run(program, feeds))
    _compare(vector, "onnxruntime", Engine(program).run(feeds))


def _compare(vector: Vector, who: str, outputs: Mapping[str, NDArray[Any]]) -> None:
    for name, expected in vector.expected().items():
        found = outputs[name]
        if found.shape != expected.shape:
            raise SelfTestError(f"vector {vector.name!r}: {who} returns {name} in shape {found.shape}")
        wrong = np.flatnonzero(found != expected)
        if wrong.size:
            place = int(wrong[0])
            raise SelfTestError(
                f"vector {vector.name!r}: {who} computes {found.flat[place]} where {expected.flat[place]} is right "
                f"({name}, element {place}); sign nothing on this machine"
            )
