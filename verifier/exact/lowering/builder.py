"""Builds an exact ONNX graph node by node, with the grid and the interval of each tensor as `load_program` proves them.

Each node passes the same inference as in `load_program`. Therefore a lowering can read a tensor's grid and interval
when it decides what to emit, and a node that is not proven raises NotExactError before it is added.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from hashlib import sha256
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.errors import NotExactError
from verifier.exact.program.instructions import REGISTRY, InstructionSite
from verifier.exact.program.parse import IR_VERSIONS, OPSET, PROTO_OF
from verifier.exact.program.values import BOOL, FLOAT, INTEGER_RANGES, Value, grid_of
from verifier.exact.runtime.byte_products import MAX_TWO_DIGITS

Array = NDArray[Any]

# Bits of constant weights. Two bytes: half of a float32 file.
WEIGHT_BITS = 16
# Bits of the scale of a weight's column. The scale multiplies the product, which therefore has as many bits more; with
# five, it is at most 1/16 larger than the column needs.
SCALE_BITS = 5
# Maximum ratio of the scales of two columns: all scales share a grid, so a larger ratio would cost the product more
# bits. Columns that would need a smaller scale get the smallest one that this ratio allows.
MAX_SCALE_RATIO = 2**8
NOT_FINITE = "it has NaN or infinite values"


def grid_for(magnitude: float, bits: int) -> int:
    """Return the coarsest grid on which numbers up to `magnitude` fit into `bits` bits, sign included; 0 for 0.

    Errors: NotExactError for a magnitude that is not finite.
    """
    if not math.isfinite(magnitude):
        raise NotExactError("a constant", NOT_FINITE)
    if magnitude <= 0:
        return 0
    return math.ceil(math.log2(magnitude)) - (bits - 1)


def _limit(bits: int) -> int:
    """Return the exclusive upper bound of integers of `bits` bits; for 16 bits, of two signed-byte digits."""
    return MAX_TWO_DIGITS + 1 if bits == 16 else int(2 ** (bits - 1))


def _rounded_up(numbers: Array) -> Array:
    """Round up to numbers of SCALE_BITS bits."""
    mantissas, exponents = np.frexp(numbers)
    return np.asarray(np.ldexp(np.ceil(np.ldexp(mantissas, SCALE_BITS)), exponents - SCALE_BITS))


def _content(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    """Return the key by which equal constants are found."""
    return array.dtype.name, array.shape, sha256(array.tobytes()).digest()


class Builder:
    """An exact graph under construction. Its methods add nodes and return the Value of their result."""

    def __init__(self, reserved: Collection[str] = ()) -> None:
        """Start an empty graph whose own names differ from the `reserved` ones, those of its inputs and outputs."""
        self._reserved = frozenset(reserved)
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: list[Value] = []
        self._initializers: dict[str, Array] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._made: dict[tuple[object, ...], list[Value]] = {}

    def input(self, name: str, dtype: str, shape: tuple[int, ...]) -> Value:
        """Declare a graph input of an integer dtype."""
        lo, hi = INTEGER_RANGES[dtype]
        value = Value(name, dtype, shape, 0, lo, hi)
        self._inputs.append(value)
        return value

    def constant(self, array: Array | np.generic | float) -> Value:
        """Add an initialiser unchanged. Float64 numbers must lie on one grid. Equal initialisers are stored once.

        Errors: NotExactError for numbers that share no grid.
        """
        data = np.ascontiguousarray(array).reshape(np.shape(array))
        known = self._known(data)
        if known is not None:
            return known
        try:
            q, grid = (
                grid_of(data) if data.dtype.name == FLOAT else (data.astype(np.int8) if data.dtype == bool else data, 0)
            )
        except ValueError as error:
            raise NotExactError("a constant", str(error)) from error
        name = self._free(f"k{len(self._initializers)}")
        self._initializers[name] = data
        lo, hi = (int(q.min()), int(q.max())) if q.size else (0, 0)
        value = Value(name, BOOL if data.dtype == bool else data.dtype.name, data.shape, grid, lo, hi, constant=q)
        self._constants[_content(data)] = value
        return value

    def _free(self, name: str) -> str:
        """Return a name that is not reserved: the given one, with as many underscores after it as that needs."""
        while name in self._reserved:
            name += "_"
        return name

    def _known(self, array: Array) -> Value | None:
        return self._constants.get(_content(array))

    def weight(self, array: Array) -> Value:
        """Add a float array rounded to WEIGHT_BITS bits, stored as int16 and cast to float64 in the graph."""
        grid = grid_for(float(np.abs(array).max(initial=0)), WEIGHT_BITS)
        limit = 2 ** (WEIGHT_BITS - 1)
        q = np.clip(np.rint(np.ldexp(array.astype(np.float64), -grid)), -limit, limit - 1)
        return self.scale(self.cast(self._stored(q.astype(np.int16)), FLOAT), grid)

    def scaled_weight(self, array: Array) -> tuple[Value, Value]:
        """Add a weight [in, out] with a scale per column, so that columns of small weights keep their precision.

        Returns integers of WEIGHT_BITS bits [in, out] on grid 0, and scales of SCALE_BITS bits [out]; the caller
        multiplies a product with the scales. Errors: NotExactError for NaN or infinite weights.
        """
        peaks = np.abs(array).max(axis=0).astype(np.float64)
        if not np.isfinite(peaks).all():
            raise NotExactError("a weight", NOT_FINITE)
        smallest = max(float(peaks.max()) / MAX_SCALE_RATIO, float(np.finfo(np.float32).tiny))
        scales = _rounded_up(np.maximum(peaks, smallest) / (_limit(WEIGHT_BITS) - 1))
        q = np.rint(array.astype(np.float64) / scales)
        return self.cast(self._stored(q.astype(np.int16)), FLOAT), self.constant(scales)

    def _stored(self, q: Array) -> Value:
        """Add a weight's integers; if their transpose is stored already, as of tied embeddings, a view of that."""
        if q.ndim == 2 and (transpose := self._known(q.T)) is not None:
            return self.op("Transpose", transpose, perm=[1, 0])
        return self.constant(q)

    def op(self, op: str, *operands: Value | None, **attributes: Any) -> Value:
        """Add a node with one output. Errors: NotExactError."""
        return self.ops(op, operands, 1, **attributes)[0]

    def ops(self, op: str, operands: tuple[Value | None, ...], outputs: int, **attributes: Any) -> list[Value]:
        """Add a node, or find an equal one added before. Errors: NotExactError for a node that is not proven."""
        inputs = [operand.name if operand is not None else "" for operand in operands]
        key = (op, *inputs, outputs, repr(sorted(attributes.items())))
        if key in self._made:
            return self._made[key]
        names = tuple(
            self._free(f"v{len(self._nodes)}" + (f"_{index}" if outputs > 1 else "")) for index in range(outputs)
        )
        fixed = {key: tuple(item) if isinstance(item, list) else item for key, item in attributes.items()}
        site = InstructionSite(f"{op} {names[0]}", op, operands, names, fixed)
        results = REGISTRY[op].infer(site)
        self._nodes.append(helper.make_node(op, inputs, list(names), **attributes))
        self._made[key] = results
        return results

    # Combinations that many lowerings need

    def cast(self, value: Value, dtype: str) -> Value:
        """Emit a Cast, nothing where the dtype is the same."""
        return value if value.dtype == dtype else self.op("Cast", value, to=PROTO_OF[dtype])

    def scale(self, value: Value, exponent: int) -> Value:
        """Emit value * 2**exponent, which only changes the grid."""
        return value if exponent == 0 else self.op("Mul", value, self.constant(np.float64(2.0**exponent)))

    def rounded(self, value: Value, grid: int) -> Value:
        """Round to the nearest multiple of 2**grid, ties to even."""
        if value.grid >= grid:
            return value
        return self.scale(self.op("Round", self.scale(value, -grid)), grid)

    def clipped(self, value: Value, lo: int, hi: int) -> Value:
        """Saturate to lo..hi steps of the value's own grid; emit nothing where the interval lies within."""
        if lo <= value.lo and value.hi <= hi:
            return value
        low, high = (np.float64(math.ldexp(limit, value.grid)) for limit in (lo, hi))
        return self.op("Clip", value, self.constant(low), self.constant(high))

    def fitted(self, value: Value, magnitude: float, bits: int, headroom_bits: int = 0) -> Value:
        """Round and saturate to `bits` bits, sign included, of which `headroom_bits` lie above `magnitude`."""
        grid = grid_for(magnitude, bits - headroom_bits)
        limit = _limit(bits)
        if value.grid >= grid:
            steps = max(limit >> (value.grid - grid), 1)
            return self.clipped(value, -steps, steps - 1 if steps > 1 else steps)
        whole = self.op("Round", self.scale(value, -grid))
        return self.scale(self.clipped(whole, -limit, limit - 1), grid)

    def quotient(self, a: Value, b: Value) -> Value:
        """Emit floor(a / b) of integers, b proven positive."""
        return self.op("Floor", self.op("Div", a, b))

    def reshape(self, value: Value, shape: tuple[int, ...]) -> Value:
        """Emit a Reshape, nothing where the shape is the same."""
        if value.shape == shape:
            return value
        return self.op("Reshape", value, self.constant(np.array(shape, np.int64)))

    def quantised(self, numbers: Array, grid: int) -> Array:
        """Return numbers rounded to multiples of 2**grid, as float64."""
        return np.asarray(np.ldexp(np.rint(np.ldexp(np.asarray(numbers, np.float64), -grid)), grid) + 0.0)

    def table(self, entries: Array, grid: int) -> Value:
        """Add a table rounded to a grid, stored as int32 and cast to float64 in the graph."""
        q = np.rint(np.ldexp(np.asarray(entries, np.float64), -grid))
        return self.scale(self.cast(self.constant(q.astype(np.int32)), FLOAT), grid)

    def lookup(self, table: Value, index: Value) -> Value:
        """Emit table[index] for an integer float index that is proven to lie within a 1-D table."""
        flat = self.reshape(self.cast(index, "int32"), (index.size,))
        # On flat operands GatherElements is several times faster than Gather.
        return self.reshape(self.op("GatherElements", table, flat, axis=0), index.shape)

    def model(self, outputs: dict[str, Value]) -> onnx.ModelProto:
        """Return the exact model: inputs in declared order, outputs as given, and the nodes that the outputs need."""
        needed = {value.name for value in outputs.values()}
        nodes: list[onnx.NodeProto] = []
        for node in reversed(self._nodes):
            if needed & set(node.output):
                nodes.append(node)
                needed.update(node.input)
        nodes.reverse()
        infos = []
        for name, value in outputs.items():
            nodes.append(helper.make_node("Identity", [value.name], [name]))
            infos.append(helper.make_tensor_value_info(name, PROTO_OF[value.dtype], value.shape))
        inputs = [helper.make_tensor_value_info(v.name, PROTO_OF[v.dtype], v.shape) for v in self._inputs]
        used = {name for node in nodes for name in node.input}
        initializers = [
            helper.make_tensor(name, PROTO_OF[array.dtype.name], array.shape, array.tobytes(), raw=True)
            for name, array in self._initializers.items()
            if name in used
        ]
        graph = helper.make_graph(nodes, "exact", inputs, infos, initializer=initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSIONS[0])
