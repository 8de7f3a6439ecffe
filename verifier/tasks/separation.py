"""What builders of tasks check of a program before it decides about money: rows and padding that must not count."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.exact import DependenceError, Program
from verifier.exact.dependence import require_causal, require_padding_ignored, require_separate
from verifier.tasks.errors import BuildError


def check_rows(program: Program, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """Check that no row of an output depends on other rows of an input, whatever a submission holds.

    `inputs` and `outputs` give the axis of rows of each. Errors: BuildError says which output, input and rows.
    """
    try:
        require_separate(program, inputs, outputs)
    except DependenceError as error:
        raise BuildError(f"a row of the holdout could change the result of another one: {error}") from error


def check_causal(program: Program, tokens: Mapping[str, int], outputs: Mapping[str, int]) -> None:
    """Check that no position of an output depends on later tokens, whatever a submission holds.

    `tokens` and `outputs` give the axis of positions of each. Errors: BuildError says which positions.
    """
    try:
        require_causal(program, tokens, outputs)
    except DependenceError as error:
        raise BuildError(f"a submission could look at the text that it has to predict: {error}") from error


def padding_warnings(program: Program, tokens: str, mask: str, outputs: Mapping[str, int | None]) -> list[str]:
    """Return a warning where outputs are not proven to ignore tokens of which the mask is 0; else nothing.

    `outputs` gives each output's axis of tokens, or None. It is a warning because a task stays deterministic and fair
    without it: padding is the same for every submission.
    """
    try:
        require_padding_ignored(program, tokens, mask, outputs)
    except DependenceError as error:
        return [f"a result can depend on how many tokens a row is padded to: {error}"]
    return []
