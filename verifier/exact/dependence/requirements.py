"""What builders of tasks require of a program, and the names of the relations that a report prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from verifier.exact.dependence.questions import Reach, reach, reach_of_padding
from verifier.exact.errors import DependenceError
from verifier.exact.program.proof import Program

Matrix = NDArray[np.bool_]


def require_causal(
    program: Program, tokens: Mapping[str, int], outputs: Mapping[str, int], unmasked: str | None = None
) -> None:
    """Check that no position of an output depends on later positions of an input, whatever the inputs are.

    `tokens` and `outputs` give the axis of positions of each input and output. `unmasked` is that of `reach`: it is
    needed where a mask of padding could hide all earlier tokens from a position. Errors: DependenceError names the
    output, the input and the two positions.
    """
    _require(program, tokens, outputs, lambda reached: np.triu(reached, 1), "later positions", unmasked)


def require_separate(program: Program, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """Check that no row of an output depends on another row of an input, whatever the inputs are.

    `inputs` and `outputs` give the axis of rows of each input and output. Errors: as those of `require_causal`.
    """
    _require(program, inputs, outputs, _others, "other rows", None)


def require_padding_ignored(program: Program, tokens: str, mask: str, outputs: Mapping[str, int | None]) -> None:
    """Check that no output depends on tokens where the mask is 0, as `reach_of_padding` says.

    `outputs` gives each output's axis of positions, at which a masked token may influence itself, or None where it has
    none. Errors: as those of `require_causal`.
    """
    found = reach_of_padding(program, tokens, mask)
    for output, axis in outputs.items():
        reached = _output(found, output)
        if axis is None:
            wrong = np.atleast_2d(reached.positions).copy()
        else:
            wrong = _others(reached.along(_checked(reached, axis)))
        wrong[:, 0] = False  # nothing is assumed of the first position
        _refuse_any(wrong, output, axis, f"masked {tokens!r}", "positions at which the mask is 0")


def _require(
    program: Program,
    inputs: Mapping[str, int],
    outputs: Mapping[str, int],
    forbidden: Callable[[Matrix], Matrix],
    what: str,
    unmasked: str | None,
) -> None:
    for name, input_axis in inputs.items():
        found = reach(program, name, input_axis, unmasked)
        for output, axis in outputs.items():
            reached = _output(found, output)
            wrong = forbidden(reached.along(_checked(reached, axis)))
            _refuse_any(wrong, output, axis, f"axis {input_axis} of {name!r}", what)


def _others(reached: Matrix) -> Matrix:
    outputs, inputs = reached.shape
    return np.asarray(reached & ~np.eye(outputs, inputs, dtype=np.bool_))


def _output(found: Mapping[str, Reach], name: str) -> Reach:
    if name not in found:
        raise DependenceError(f"no output is called {name!r}; outputs are {list(found)}")
    return found[name]


def _checked(reached: Reach, axis: int) -> int:
    shape = reached.output.shape
    if not 0 <= axis < len(shape):
        raise DependenceError(f"output {reached.output.name!r} has no axis {axis}: its shape is {list(shape)}")
    return axis


def _refuse_any(wrong: Matrix, output: str, axis: int | None, source: str, what: str) -> None:
    if not wrong.any():
        return
    at, position = (int(index) for index in np.argwhere(wrong)[0])
    place = "" if axis is None else f" at position {at} of axis {axis}"
    raise DependenceError(
        f"output {output!r}{place} may depend on position {position} of {source}: it must not depend on {what}. Look "
        "for a mask that the model does not apply, or for scores that are not far above masked ones in calibration"
    )


def relation(reached: Matrix, first: int = 0) -> str:
    """Name what a matrix [positions of an output, positions of an input] says of the input's positions from `first` on.

    One of "none", "same position", "same or earlier positions", "same or later positions", "all positions", and "some
    positions" for anything else.
    """
    square = reached.shape[0] == reached.shape[1]
    reached = reached.copy()
    reached[:, :first] = False
    if not reached.any():
        return "none"
    if reached[:, first:].all() and reached.shape[1] > first + 1:
        return "all positions"
    if square and not _others(reached).any():
        return "same position"
    if square and not np.triu(reached, 1).any():
        return "same or earlier positions"
    if square and not np.tril(reached, -1).any():
        return "same or later positions"
    return "all positions" if reached[:, first:].all() else "some positions"
