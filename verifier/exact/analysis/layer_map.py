"""Which tensor of an exact program stands for which of the float model: what `touchstone lower --map` writes.

A program file has no place for it: nothing but what is evaluated may be part of what is hashed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verifier.exact.errors import ExactError
from verifier.exact.lowering import InputSpec, Lowered
from verifier.exact.program import Program
from verifier.exact.program.values import FLOAT


@dataclass(frozen=True)
class Layer:
    """A float tensor: the exact one in its place, and the extremes that calibration saw."""

    exact: str
    lo: float
    hi: float


@dataclass(frozen=True)
class LayerMap:
    """`grids` of the inputs by name, and the float tensors that survive in the program, in the float graph's order."""

    grids: Mapping[str, int]
    layers: Mapping[str, Layer]

    @classmethod
    def of(cls, lowered: Lowered, specs: Mapping[str, InputSpec], program: Program) -> LayerMap:
        """Of what was just lowered, and the program that was written of it."""
        layers = {}
        for name, value in lowered.tensors.items():
            known = program.values.get(value.name)
            seen = lowered.ranges.get(name)
            if known is not None and known.constant is None and known.dtype == FLOAT and seen is not None:
                layers[name] = Layer(value.name, seen.lo, seen.hi)
        return cls({name: spec.grid for name, spec in specs.items()}, layers)

    def to_json(self) -> str:
        """As it is kept in a file."""
        layers = {name: asdict(layer) for name, layer in self.layers.items()}
        return json.dumps({"grids": dict(self.grids), "layers": layers}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, program: Program) -> LayerMap:
        """Errors: ExactError for what is no such file, or one of another program."""
        try:
            raw: Any = json.loads(text)
            grids = {str(name): int(grid) for name, grid in raw["grids"].items()}
            layers = {
                str(name): Layer(str(layer["exact"]), float(layer["lo"]), float(layer["hi"]))
                for name, layer in raw["layers"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExactError(f"this is no map that `touchstone lower --map` wrote: {error!r}") from error
        strangers = sorted({layer.exact for layer in layers.values()} - set(program.values))
        if strangers or set(grids) != {item.name for item in program.inputs}:
            what = f"tensor {strangers[0]!r} is not in it" if strangers else "their inputs differ"
            raise ExactError(f"the map belongs to another program: {what}")
        return cls(grids, layers)
