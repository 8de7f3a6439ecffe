"""Literal vectors: small programs with inputs and the integers that every implementation must compute from them.

Each JSON file holds one family of instructions. A node is `[operator, inputs, outputs, attributes]`. A tensor has a
dtype, a shape and the integers `values`; a float64 tensor also has its `grid`, and "-0" stands for negative zero. The
values of an output are its integers q. `python -m tests.vectors.write` writes the files; it computes every number
without this package. They are part of the package because the self-test reads them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.program.parse import IR_VERSIONS, OPSET, PROTO_OF

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Vector:
    """One program with its inputs and expected outputs. `name` is family/case, `raw` the parsed JSON."""

    name: str
    raw: Raw

    def model(self) -> bytes:
        """The program as the bytes of an ONNX file."""
        nodes = []
        for op, inputs, outputs, attributes in self.raw["nodes"]:
            known: dict[str, Any] = {key: PROTO_OF[item] if key == "to" else item for key, item in attributes.items()}
            nodes.append(helper.make_node(op, inputs, outputs, **known))
        inputs = [_declared(name, raw) for name, raw in self.raw["inputs"].items()]
        outputs = [_declared(name, raw) for name, raw in self.raw["outputs"].items()]
        constants = []
        for name, raw in self.raw["constants"].items():
            array = _array(raw)
            constants.append(
                helper.make_tensor(name, PROTO_OF[raw["dtype"]], array.shape, array.tobytes(), raw=True),
            )
        graph = helper.make_graph(nodes, "vector", inputs, outputs, constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSIONS[0])
        return bytes(model.SerializeToString())

    def feeds(self) -> dict[str, NDArray[Any]]:
        """The inputs by name, in their dtype and shape."""
        return {name: _array(raw) for name, raw in self.raw["inputs"].items()}

    def expected(self) -> dict[str, NDArray[np.int64]]:
        """The integers q of every output by name, int64."""
        return {
            name: np.array(raw["values"], np.int64).reshape(raw["shape"]) for name, raw in self.raw["outputs"].items()
        }

    def grids(self) -> dict[str, int]:
        """The grid of every output by name."""
        return {name: raw.get("grid", 0) for name, raw in self.raw["outputs"].items()}


def load_vectors() -> tuple[Vector, ...]:
    """Read all vectors, ordered by file name and case."""
    folder = resources.files(__name__)
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".json")), key=lambda item: item.name)
    return tuple(
        Vector(f"{file.name.removesuffix('.json')}/{raw['name']}", raw)
        for file in files
        for raw in json.loads(file.read_text("utf-8"))
    )


def _declared(name: str, raw: Raw) -> Any:
    return helper.make_tensor_value_info(name, PROTO_OF[raw["dtype"]], raw["shape"])


def _array(raw: Raw) -> NDArray[Any]:
    if raw["dtype"] != "float64":
        return np.array(raw["values"], raw["dtype"]).reshape(raw["shape"])
    values = [-0.0 if value == "-0" else float(np.ldexp(float(value), raw["grid"])) for value in raw["values"]]
    return np.array(values, np.float64).reshape(raw["shape"])
