"""The map from float tensors to exact ones that `touchstone lower --map` writes.

It is a separate file because every byte of a program file is hashed: a program contains only what is evaluated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from verifier.exact.analysis.input_feeds import SeenInput
from verifier.exact.errors import ExactError
from verifier.exact.lowering import InputSpec, Lowered
from verifier.exact.program import Program
from verifier.exact.program.values import FLOAT


@dataclass(frozen=True)
class Layer:
    """The exact tensor in the place of a float one, and the extremes that calibration saw of it, NaN if unknown."""

    exact: str
    lo: float = math.nan
    hi: float = math.nan


@dataclass(frozen=True)
class LayerMap:
    """The grids of the inputs by name, and the float tensors with an exact counterpart, in the float graph's order.

    `inputs` is what calibration saw of each input.
    """

    grids: Mapping[str, int]
    layers: Mapping[str, Layer]
    inputs: Mapping[str, SeenInput]

    @classmethod
    def of(
        cls, lowered: Lowered, specs: Mapping[str, InputSpec], program: Program, inputs: Mapping[str, SeenInput]
    ) -> LayerMap:
        """Make the map of a lowered model and the program that was written from it."""
        layers = {}
        for name, value in lowered.tensors.items():
            known = program.values.get(value.name)
            seen = lowered.ranges.get(name)
            if known is not None and known.constant is None and known.dtype == FLOAT and seen is not None:
                layers[name] = Layer(value.name, seen.lo, seen.hi)
        return cls({name: spec.grid for name, spec in specs.items()}, layers, inputs)

    def to_json(self) -> str:
        """The text of the file."""
        layers = {name: asdict(layer) for name, layer in self.layers.items()}
        inputs = {name: asdict(seen) for name, seen in self.inputs.items()}
        return json.dumps({"grids": dict(self.grids), "inputs": inputs, "layers": layers}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, program: Program) -> LayerMap:
        """Read the text of a file. Errors: ExactError when it is not such a map, or the map of another program."""
        try:
            raw: Any = json.loads(text)
            grids = {str(name): int(grid) for name, grid in raw["grids"].items()}
            layers = {
                str(name): Layer(str(layer["exact"]), float(layer["lo"]), float(layer["hi"]))
                for name, layer in raw["layers"].items()
            }
            inputs = {
                str(name): SeenInput(float(seen["lo"]), float(seen["hi"]), int(seen["row"]), int(seen["longest"]))
                for name, seen in raw["inputs"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExactError(f"this is not a map that `touchstone lower --map` wrote: {error!r}") from error
        unknown = sorted({layer.exact for layer in layers.values()} - set(program.values))
        if unknown or set(grids) != {item.name for item in program.inputs}:
            what = f"it has no tensor {unknown[0]!r}" if unknown else "its inputs differ"
            raise ExactError(f"the map is not this program's: {what}")
        return cls(grids, layers, inputs)
