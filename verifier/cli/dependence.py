"""The command `dependence`: which inputs, and which positions of an input, a program's outputs can depend on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from verifier.cli.exact import load_proven

if TYPE_CHECKING:
    from verifier.exact.dependence import Reach


class _Axis(click.ParamType):
    """An axis of an input: NAME:AXIS."""

    name = "NAME:AXIS"
    _FORM = re.compile(r"(.+):([0-9])")

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, int]:
        """Return name and axis."""
        form = self._FORM.fullmatch(value)
        if form is None:
            self.fail(f"{value!r} is not like input_ids:1", param, ctx)
        return form[1], int(form[2])


@click.command()
@click.argument("program", metavar="EXACT.onnx", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--axis", "axes", type=_Axis(), multiple=True, help="An axis of an input to follow. Repeatable.")
@click.option("--mask", metavar="NAME", help="The input that is 1 at tokens and 0 at padding.")
def dependence(program: Path, axes: tuple[tuple[str, int], ...], mask: str | None) -> None:
    """Prove what the outputs of EXACT.onnx can depend on.

    The program is not run. What the command says to be independent stays the same, bit for bit, whatever the inputs
    are; what it says to depend might not.

    Axes are counted from 0. For each --axis, such as input_ids:0 for rows or input_ids:1 for tokens, it says which
    positions of the input can influence which positions of an output: "none", "same position", "same or earlier
    positions" (a decoder that is causal), "same or later positions", "some positions" or "all positions".

    --mask names an input [rows, tokens], the mask of padding. It is assumed to be 1 at the first token of each row, and
    may hold anything elsewhere. For each --axis NAME:1 of an input of as many rows and tokens, the command then also
    says what a token after the first one can influence if its mask is 0.

    Prints JSON: `inputs` (for each output the inputs that it depends on), `axes` and `padding` (a list of `input`,
    `axis`, `output`, and `along`: for each axis of the output its relation; a single relation for an output without
    axes), `assumed` (of the mask), and `statements`, the same in words.
    """
    from verifier.exact.dependence import inputs_of_outputs, reach, reach_of_padding

    proven = load_proven(program)
    inputs = inputs_of_outputs(proven)
    statements = [f"{output} depends on {', '.join(names) or 'no input'}" for output, names in inputs.items()]
    followed, padding = [], []
    for name, axis in axes:
        for output, reached in reach(proven, name, axis, unmasked=mask).items():
            along = _relations(reached)
            followed.append({"input": name, "axis": axis, "output": output, "along": along})
            statements += _sentences(output, along, f"axis {axis} of {name}")
        if mask is not None and axis == 1 and name != mask:
            for output, reached in reach_of_padding(proven, name, mask).items():
                along = _relations(reached, first=1)
                padding.append({"input": name, "axis": axis, "output": output, "along": along})
                statements += _sentences(output, along, f"axis {axis} of {name} where {mask} is 0")
    fields: dict[str, Any] = {"inputs": inputs, "axes": followed, "padding": padding}
    fields["assumed"] = f"{mask} is 1 at the first position of each row" if mask is not None else None
    click.echo(json.dumps({**fields, "statements": statements}, indent=2))


def _relations(reached: Reach, first: int = 0) -> str | list[str]:
    """The relation of each axis of an output with the input's axis, without the positions before `first`."""
    from verifier.exact.dependence import relation

    if not reached.output.shape:
        return relation(reached.positions[None, :], first)
    return [relation(reached.along(axis), first) for axis in range(len(reached.output.shape))]


def _sentences(output: str, along: str | list[str], source: str) -> list[str]:
    """What the relations say, in words; axes that say nothing are left out."""
    if isinstance(along, str) or not along or set(along) <= {"none", "all positions", "some positions"}:
        found = along if isinstance(along, str) else max(along, key=("none", "some positions", "all positions").index)
        return [f"{output} depends on {found} of {source}" if found != "none" else f"{output} ignores {source}"]
    named = [(axis, item) for axis, item in enumerate(along) if item.startswith("same")]
    return [f"{output} depends along axis {axis} on the {item} of {source}" for axis, item in named]
