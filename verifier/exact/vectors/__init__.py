"""Literal vectors: small programs with inputs and the integers they must give, the same for every implementation.

Each JSON file holds one family of instructions. Nodes read `[operator, inputs, outputs, attributes]`; a tensor is its
dtype, shape and integers `values`, a float64 one with its `grid`, and "-0" in it is the negative zero. What is expected
of an output are its integers q. The files are written by `python -m tests.vectors.write`, which computes every number
without this package.
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
    """One program with its inputs and expected integers; `name` is family/case."""

    name: str
    raw: Raw

    def model(self) -> bytes:
        """The program as an ONNX file."""
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
        """The inputs."""
        return {name: _array(raw) for name, raw in self.raw["inputs"].items()}

    def expected(self) -> dict[str, NDArray[np.int64]]:
        """The integers q of every output."""
        return {
            name: np.array(raw["values"], np.int64).reshape(raw["shape"]) for name, raw in self.raw["outputs"].items()
        }

    def grids(self) -> dict[str, int]:
        """The grid of every output."""
        return {name: raw.get("grid", 0) for name, raw in self.raw["outputs"].items()}


def load_vectors() -> tuple[Vector, ...]:
    """All vectors, in the order of file and case."""
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
