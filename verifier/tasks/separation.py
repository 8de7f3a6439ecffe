"""What builders of tasks check of a program before it decides about money: rows and padding that must not count."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from verifier.exact import DependenceError, Program, Tensor
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


def check_predictions(program: Program, tokens: str, places: str, outputs: Sequence[str]) -> None:
    """Check that each token at a place is predicted from the tokens before it, whatever a submission holds.

    Inputs are `tokens` [rows, positions] and `places` [rows, answers], of which an exporter made instructions
    GatherElements along the positions. Three things are proven: outputs read the tokens only through such instructions,
    the indices of these do not depend on the tokens, and what they read is causal: a position of it depends on no later
    tokens. That hidden states are read one position before a place is how the decoder is written.
    Errors: BuildError says what is not proven.
    """
    length = next(item.shape[1] for item in program.inputs if item.name == tokens)
    producers = {name: item for item in program.live_instructions for name in item.outputs}

    def sources(name: str, stop: Collection[str]) -> set[str]:
        """The tensors without a producer, and those in `stop`, from which a tensor is computed."""
        found: set[str] = set()
        seen, waiting = {name}, [name]
        while waiting:
            current = waiting.pop()
            if current in stop or current not in producers:
                found.add(current)
                continue
            new = set(producers[current].inputs) - seen
            seen |= new
            waiting += new
        return found

    chosen = {}  # what a place selects -> that of which it is selected
    for name, item in producers.items():
        if item.op == "GatherElements" and item.attributes.get("axis") == 1:
            read, index = item.inputs
            selecting = sources(index, ())
            if program.values[read].shape[1] == length and places in selecting and tokens not in selecting:
                chosen[name] = read
    for output in outputs:
        if tokens in sources(output, chosen):
            raise BuildError(
                f"a submission could look at the text that it has to predict: {output!r} reads {tokens!r} at other "
                f"positions than {places!r} says"
            )
    states = sorted({read for read in chosen.values() if tokens in sources(read, ())})
    watched = [Tensor(name, program.values[name].dtype, program.values[name].shape, 0) for name in states]
    check_causal(replace(program, outputs=tuple(watched)), {tokens: 1}, dict.fromkeys(states, 1))


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
