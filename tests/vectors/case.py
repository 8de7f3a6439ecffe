"""Write one case of a vector file in a few lines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

RANGES = {
    "bool": (0, 1),
    "int8": (-(2**7), 2**7 - 1),
    "uint8": (0, 2**8 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "float64": (-(2**53), 2**53),
}


class Case:
    """One case. Nodes are added in order; the names of constants and intermediate tensors are chosen here."""

    def __init__(self, name: str) -> None:
        self.raw: dict[str, Any] = {"name": name, "inputs": {}, "constants": {}, "nodes": [], "outputs": {}}

    def input(self, name: str, dtype: str, values: Sequence[int], shape: Sequence[int] | None = None) -> str:
        self.raw["inputs"][name] = _tensor(dtype, values, shape)
        return name

    def const(
        self, dtype: str, values: Sequence[int | str] | int, shape: Sequence[int] | None = None, grid: int = 0
    ) -> str:
        """Add a constant, a scalar where one integer is given; returns its name."""
        name = f"k{len(self.raw['constants'])}"
        if isinstance(values, int):
            values, shape = [values], []
        self.raw["constants"][name] = _tensor(dtype, values, shape, grid)
        return name

    def list(self, *values: int) -> str:
        """Add a constant int64 list, such as a shape, axes or lengths; returns its name."""
        return self.const("int64", values)

    def op(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        """Add a node; returns the name of its first output."""
        return self.ops(op, *inputs, outputs=outputs, **attributes)[0]

    def ops(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node; returns the names of its outputs."""
        names = [f"v{len(self.raw['nodes'])}" + (f"_{index}" if outputs > 1 else "") for index in range(outputs)]
        self.raw["nodes"].append([op, list(inputs), names, attributes])
        return names

    def real(
        self, name: str, values: Sequence[int], bits: int, grid: int = 0, shape: Sequence[int] | None = None
    ) -> str:
        """Add an int64 input that is clipped to ±2**bits and cast to float64 on a grid; returns the result's name."""
        limit = 2**bits
        assert all(-limit <= value <= limit for value in values)
        source = self.input(name, "int64", values, shape)
        clipped = self.op("Clip", source, self.const("int64", -limit), self.const("int64", limit))
        number = self.op("Cast", clipped, to="float64")
        return number if grid == 0 else self.op("Mul", number, self.const("float64", 1, grid=grid))

    def output(
        self,
        source: str,
        values: Sequence[int],
        dtype: str = "float64",
        grid: int = 0,
        shape: Sequence[int] | None = None,
    ) -> None:
        """Make a tensor an output, and say which integers it must have."""
        name = f"y{len(self.raw['outputs'])}"
        self.raw["nodes"].append(["Identity", [source], [name], {}])
        self.raw["outputs"][name] = _tensor(dtype, values, shape, grid)


def _tensor(dtype: str, values: Sequence[int | str], shape: Sequence[int] | None, grid: int = 0) -> dict[str, Any]:
    low, high = RANGES[dtype]
    shape = [len(values)] if shape is None else list(shape)
    assert math.prod(shape) == len(values), (shape, len(values))
    assert all(low <= int(value) <= high for value in values), values
    raw: dict[str, Any] = {"dtype": dtype, "shape": shape, "values": list(values)}
    return raw | {"grid": grid} if dtype == "float64" else raw
