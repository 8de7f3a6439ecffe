"""Every reason for which a node, an output or a program is refused, and programs just inside each rule."""

from typing import Any

import numpy as np
import pytest

from tests.exact.graphs import Row, data
from verifier.exact import NotExactError, load_program

DOUBLE, FLOAT, INT8, INT32, INT64, BOOL = 11, 1, 3, 6, 7, 9
I16 = {"x": ("int16", [2, 3])}
CAST: list[Row] = [("Cast", "x", "f", {"to": DOUBLE})]  # f: ±2**15


def i64(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int64)


def real(value: float) -> np.ndarray[Any, Any]:
    return np.array(value, np.float64)


def bounded(bits: int, name: str = "w", source: str = "x64") -> list[Row]:
    """Nodes that compute a float64 within ±2**bits from an int64 input; the limits are constants."""
    return [("Clip", f"{source} low{bits} high{bits}", f"{name}c"), ("Cast", f"{name}c", name, {"to": DOUBLE})]


X64 = {"x64": ("int64", [2, 3])}
LIMITS = {f"{side}{bits}": np.int64(sign * 2**bits) for bits in (52, 53) for side, sign in (("low", -1), ("high", 1))}


def reason(nodes: list[Row], inputs: Any = None, constants: Any = None, outputs: str = "y") -> str:
    """The node and reason for which a graph is refused; an empty text when it is proven."""
    try:
        load_program(data(nodes, inputs or I16, constants or {}, outputs))
    except NotExactError as error:
        return f"{error.node}: {error.reason}"
    return ""


ELEMENTWISE = {
    "a sum of 2**52 and 2**52 is proven": (
        [*bounded(52), ("Add", "w w", "y")], X64, LIMITS, ""),
    "a sum that can pass 2**53": (
        [*bounded(52), *bounded(53, "v"), ("Add", "w v", "y")], X64, LIMITS,
        "Add node 'number 4': it can need 54 bits where float64 is exact to 53: clip or requantise its inputs"),
    "a difference that can pass 2**53": (
        [*bounded(52), *bounded(53, "v"), ("Sub", "w v", "y")], X64, LIMITS, "can need 54 bits"),
    "a product that can pass 2**53": (
        [*bounded(52), ("Mul", "w w", "y")], X64, LIMITS, "Mul node 'number 2': it can need 105 bits"),
    "grids too far apart to be added": (
        [*CAST, ("Add", "f tiny", "y")], I16, {"tiny": real(2.0**-39)}, "can need 55 bits"),
    "grids too far apart to be compared": (
        [*CAST, ("Less", "f tiny", "y")], I16, {"tiny": real(2.0**-39)}, "can need 55 bits"),
    "unlike dtypes": (
        [*CAST, ("Add", "f x", "y")], I16, None,
        "operands are ['float64', 'int16']: all must be float64, all int32 or all int64"),
    "arithmetic on int16, for which onnxruntime has no kernels": (
        [("Max", "x x", "y")], I16, None, "operands are ['int16', 'int16']"),
    "int32 that can overflow": (
        [("Add", "x x", "y")], {"x": ("int32", [1])}, None,
        "it can reach -4294967296 to 4294967294, outside int32"),
    "int64 that can overflow": (
        [("Mul", "x x", "y")], {"x": ("int64", [1])}, None, "outside int64"),
    "the negative of the lowest int32": (
        [("Neg", "x", "y")], {"x": ("int32", [1])}, None, "it can reach -2147483647 to 2147483648, outside int32"),
    "shapes that do not broadcast": (
        [("Add", "x a", "y")], {"x": ("int32", [2, 3]), "a": ("int32", [2])}, None,
        "shapes [(2, 3), (2,)] do not broadcast"),
    "too few operands": ([*CAST, ("Add", "f", "y")], I16, None, "it has 1 inputs, 2 are needed"),
    "an operand left out": ([*CAST, ("Add", "f -", "y")], I16, None, "it has 2 inputs, 2 are needed"),
    "17 operands of Max": ([*CAST, ("Max", "f " * 17, "y")], I16, None, "it has 17 inputs, 1 to 16 are needed"),
    "a grid beyond 2**-400": (
        [*CAST, ("Mul", "f k", "g"), ("Mul", "g k", "y")], I16, {"k": real(2.0**-300)},
        "grid 2**-600: at most 2**400 and at least 2**-400 is allowed"),
    "a clip with computed limits": ([*CAST, ("Clip", "f f f", "y")], I16, None, "its limits are not constant scalars"),
    "a clip with limits of one dimension": (
        [*CAST, ("Clip", "f a a", "y")], I16, {"a": np.ones(1)},
        "its limits have dimensions: onnxruntime needs scalars"),
    "a clip with one limit": ([*CAST, ("Clip", "f a", "y")], I16, {"a": real(1)}, "it has 2 inputs, 3 are needed"),
    "a clip that is upside down": (
        [*CAST, ("Clip", "f a b", "y")], I16, {"a": real(1), "b": real(0)}, "its lower limit is above its upper one"),
}  # fmt: skip

ROUNDING = {
    "a quotient that is not floored": (
        [*CAST, ("Div", "f two", "y")], I16, {"two": real(2)}, "output 'y': it is an unrounded quotient or root"),
    "a quotient as an output": (
        [*CAST, ("Div", "f two", "q"), ("Floor", "q", "y")], I16, {"two": real(2)},
        "Div node 'number 1': its result is off the grid and must be read exactly once, by a Floor"),
    "a quotient that is rounded to the nearest": (
        [*CAST, ("Div", "f two", "q"), ("Round", "q", "y")], I16, {"two": real(2)},
        "Round node 'number 2': it reads an unrounded quotient or root (Div node 'number 1')"),
    "a quotient that is moved first": (
        [*CAST, ("Div", "f two", "q"), ("Identity", "q", "r"), ("Floor", "r", "y")], I16, {"two": real(2)},
        "Identity node 'number 2': it reads an unrounded quotient"),
    "a quotient with two readers": (
        [*CAST, ("Div", "f two", "q"), ("Floor", "q", "y"), ("Floor", "q", "z")], I16, {"two": real(2)},
        "must be read exactly once, by a Floor"),
    "a quotient that no node reads": (
        [*CAST, ("Div", "f two", "q"), ("Floor", "f", "y")], I16, {"two": real(2)},
        "must be read exactly once, by a Floor"),
    "a divisor that can be 0": (
        [*CAST, ("Div", "f d", "q"), ("Floor", "q", "y")], I16, {"d": np.array([1.0, 0.0, 1.0])},
        "its divisor is not proven positive: apply Max(x, step) to it first"),
    "a divisor that can be negative": (
        [*CAST, ("Div", "f f", "q"), ("Floor", "q", "y")], I16, None, "its divisor is not proven positive"),
    "division of integers": (
        [("Div", "x x", "q"), ("Floor", "q", "y")], {"x": ("int32", [1])}, None,
        "it divides int32 by int32: both must be float64"),
    "a root of what can be negative": (
        [*CAST, ("Sqrt", "f", "r"), ("Floor", "r", "y")], I16, None,
        "its argument can be -32768 to 32767: 0 to 2**52 - 1 is exact"),
    "a root of 2**52": (
        [*bounded(52), ("Max", "w zero", "p"), ("Sqrt", "p", "r"), ("Floor", "r",
        "y")], X64, LIMITS | {"zero": real(0)},
        "its argument can be 0 to 4503599627370496: 0 to 2**52 - 1 is exact"),
    "a root of 2**52 - 1 is proven": (
        [*bounded(52), ("Clip", "w zero top", "p"), ("Sqrt", "p", "r"), ("Floor", "r", "y")], X64,
        LIMITS | {"zero": real(0), "top": real(2**52 - 1)}, ""),
    "a root off whole numbers": (
        [*CAST, ("Max", "f zero", "p"), ("Mul", "p half", "h"), ("Sqrt", "h", "r"), ("Floor", "r", "y")], I16,
        {"zero": real(0), "half": real(0.5)}, "it takes roots of float64 on grid -1: whole float64 numbers are needed"),
    "a root that is not floored": (
        [*CAST, ("Max", "f zero", "p"), ("Sqrt", "p", "r"), ("Neg", "r", "y")], I16, {"zero": real(0)},
        "it reads an unrounded quotient or root"),
    "rounding above 2**51": (
        [*bounded(53), ("Mul", "w half", "h"), ("Round", "h", "y")], X64, LIMITS | {"half": real(0.5)},
        "it rounds numbers above 2**51"),
    "rounding up to 2**51 is proven": (
        [*bounded(52), ("Mul", "w half", "h"), ("Round", "h", "y")], X64, LIMITS | {"half": real(0.5)}, ""),
    "rounding integers": (
        [("Round", "x", "y")], {"x": ("int32", [1])}, None, "it rounds int32: integers are whole already"),
    "flooring integers": ([("Floor", "x", "y")], {"x": ("int64", [1])}, None, "it rounds int64"),
    "a Div whose one reader divides by it": (
        [*CAST, ("Div", "f two", "q"), ("Div", "two q", "r"), ("Floor", "r", "y")], I16, {"two": real(2)},
        "it reads an unrounded quotient"),
}  # fmt: skip

DEEP = {"x": ("int32", [1, 128]), "s": ("int16", [128, 1])}
DEEP_CASTS: list[Row] = [("Cast", "x", "a", {"to": DOUBLE}), ("Cast", "s", "b", {"to": DOUBLE})]
PRODUCTS = {
    "128 products of 31 and 15 bits are proven": ([*DEEP_CASTS, ("MatMul", "a b", "y")], DEEP, None, ""),
    "129 products of 31 and 15 bits": (
        [*DEEP_CASTS, ("MatMul", "a b", "y")], {"x": ("int32", [1, 129]), "s": ("int16", [129, 1])}, None,
        "MatMul node 'number 2': it can need 54 bits"),
    "a constant whose column adds up to too much": (
        [("Cast", "x", "a", {"to": DOUBLE}), ("MatMul", "a w", "y")], {"x": ("int32", [1, 3])},
        {"w": np.array([[1, 2**21], [1, -(2**20)], [1, -(2**20) - 1]], np.float64)}, "can need 54 bits"),
    "a constant whose columns each add up to little enough is proven": (
        [("Cast", "x", "a", {"to": DOUBLE}), ("MatMul", "a w", "y")], {"x": ("int32", [1, 3])},
        {"w": np.array([[2**22, 0], [0, -(2**22)], [0, 0]], np.float64)}, ""),
    "a product of integers": (
        [("MatMul", "x x", "y")], {"x": ("int32", [2, 2])}, None, "it multiplies int32 by int32: both must be float64"),
    "a product with a scalar": ([*CAST, ("MatMul", "f one", "y")], I16, {"one": real(1)}, "an operand is a scalar"),
    "a product of shapes that do not fit": (
        [*CAST, ("MatMul", "f f", "y")], I16, None, "shapes (2, 3) and (2, 3) do not multiply"),
    "a product of batches that do not fit": (
        [("Cast", "x", "f", {"to": DOUBLE}), ("Cast", "z", "g", {"to": DOUBLE}), ("MatMul", "f g", "y")],
        {"x": ("int8", [2, 3, 3]), "z": ("int8", [4, 3, 3])}, None, "do not broadcast"),
    "a sum that can pass 2**53": (
        [*bounded(52), ("ReduceSum", "w axis", "y")], X64, LIMITS | {"axis": i64(1)}, "can need 54 bits"),
    "a sum of two that reaches 2**53 is proven": (
        [*bounded(52), ("ReduceSum", "w axis", "y")], X64, LIMITS | {"axis": i64(0)}, ""),
    "a sum of int64 above 2**53, which onnxruntime adds in double": (
        [("ReduceSum", "x", "y")], {"x": ("int64", [1])}, None, "can need 64 bits"),
    "the largest of int64 beyond 32 bits, which onnxruntime 1.24.4 gets wrong": (
        [("ReduceMax", "x", "y")], {"x": ("int64", [1])}, None, "it orders int64 beyond 32 bits"),
    "the largest of int64 from -2**31 to 2**31 - 1 is proven": (
        [("Cast", "x", "a", {"to": INT64}), ("ReduceMax", "a", "y")], {"x": ("int32", [2])}, None, ""),
    "the smallest of int64 up to 2**31": (
        [("Cast", "x", "a", {"to": INT64}), ("Neg", "a", "b"), ("ReduceMin", "b", "y")], {"x": ("int32", [2])}, None,
        "it orders int64 beyond 32 bits"),
    "the largest of an empty list": (
        [("ReduceMax", "none axis", "y")], I16, {"none": i64(), "axis": i64(0)},
        "it takes an extreme of an empty list"),
    "a sum of an empty list is proven": (
        [("ReduceSum", "none axis", "y")], I16, {"none": i64(), "axis": i64(0)}, ""),
    "a sum of int32 that can overflow": ([("ReduceSum", "x", "y")], {"x": ("int32", [2])}, None, "outside int32"),
    "a reduction of int16": (
        [("ReduceMax", "x", "y")], I16, None, "it reduces int16: float64, int32 or int64 is needed"),
    "axes that repeat": (
        [*CAST, ("ReduceMax", "f axes", "y")], I16, {"axes": i64(1, -1)}, "its axes are empty or repeat"),
    "axes that are empty": (
        [*CAST, ("ReduceMax", "f axes", "y")], I16, {"axes": i64()}, "its axes are empty or repeat"),
    "a reduction that does nothing": (
        [*CAST, ("ReduceMax", "f", "y", {"noop_with_empty_axes": 1})], I16, None, "its axes are empty or repeat"),
    "an axis that is not there": (
        [*CAST, ("ReduceMax", "f axes", "y")], I16, {"axes": i64(2)}, "axis 2 of a tensor with 2 dimensions"),
    "computed axes": (
        [*CAST, ("ReduceMax", "f a", "y")], I16 | {"a": ("int64", [1])}, None,
        "the list of axes is not a constant int64 list"),
    "keepdims 2, which Python takes for true and onnxruntime for false": (
        [*CAST, ("ReduceMax", "f", "y", {"keepdims": 2})], I16, None, "attribute 'keepdims' is 2: 0 or 1 is needed"),
    "three inputs of a reduction": (
        [*CAST, ("ReduceMax", "f f f", "y")], I16, None, "its first input is missing, or it has more than 2 inputs"),
}  # fmt: skip

CHOOSING = {
    "an index that can be too large": (
        [("Gather", "t x", "y")], {"x": ("int32", [1])}, {"t": i64(1, 2)},
        "its index can be -2147483648 to 2147483647, the axis has 2: clip it first"),
    "an index that can be negative": (
        [("Min", "x one", "i"), ("Gather", "t i", "y")], {"x": ("int32", [1])}, {"t": i64(1, 2), "one": np.int32(1)},
        "its index can be -2147483648 to 1, the axis has 2"),
    "an index of int16": (
        [("Gather", "t x", "y")], I16, {"t": i64(1)}, "its indices are int16: int32 or int64 is needed"),
    "a lookup in a scalar": ([("Gather", "t i", "y")], I16, {"t": np.int64(1), "i": i64(0)}, "it looks up in a scalar"),
    "a lookup on an axis that is not there": (
        [("Gather", "x i", "y", {"axis": 2})], I16, {"i": i64(0)}, "axis 2 of a tensor with 2 dimensions"),
    "indices longer than the data on another axis": (
        [("GatherElements", "x i", "y", {"axis": 0})], I16, {"i": np.zeros((1, 4), np.int64)},
        "indices of shape (1, 4) do not fit data of shape (2, 3)"),
    "indices of another rank": (
        [("GatherElements", "x i", "y")], I16, {"i": i64(0)}, "indices of shape (1,) do not fit data of shape (2, 3)"),
    "a condition that is not bool": (
        [*CAST, ("Where", "f f f", "y")], I16, None, "its condition is float64: bool is needed"),
    "a choice between bools, for which onnxruntime has no kernel": (
        [*CAST, ("Less", "f f", "b"), ("Where", "b b b", "y")], I16, None, "operands are ['bool', 'bool']"),
    "logic on numbers": (
        [*CAST, ("And", "f f", "y")], I16, None, "its operands are ['float64', 'float64']: bool is needed"),
    "the negation of two": (
        [*CAST, ("Less", "f f", "b"), ("Not", "b b", "y")], I16, None, "it has 2 inputs, 1 are needed"),
    "a comparison of bools": (
        [*CAST, ("Less", "f f", "b"), ("Equal", "b b", "y")], I16, None, "operands are ['bool', 'bool']"),
    "a cast to float": (
        [("Cast", "x", "y", {"to": FLOAT})], I16, None,
        "it casts to a type that is not allowed: integers, bool and float64 are"),
    "a cast without a type": ([("Cast", "x", "y")], I16, None, "attribute 'to' is missing or not an integer"),
    "a cast that can leave the type": (
        [("Cast", "x", "y", {"to": INT8})], I16, None, "it can reach -32768 to 32767, outside int8"),
    "a cast of numbers that are not whole": (
        [*CAST, ("Mul", "f half", "h"), ("Cast", "h", "y", {"to": INT64})], I16, {"half": real(0.5)},
        "it casts numbers that are not whole: round them first"),
    "a cast of a large float to int32": (
        [*CAST, ("Mul", "f big", "h"), ("Cast", "h", "y", {"to": INT32})], I16, {"big": real(2.0**17)},
        "outside int32"),
    "a cast of 64 bits to float64": (
        [("Cast", "x", "y", {"to": DOUBLE})], {"x": ("int64", [1])}, None,
        "it casts int64 of up to 64 bits, float64 holds 53: clip it first"),
}  # fmt: skip

MOVING = {
    "a computed shape": (
        [("Reshape", "x s", "y")], I16 | {"s": ("int64", [1])}, None, "the shape is not a constant int64 list"),
    "a shape of int32": (
        [("Reshape", "x s", "y")], I16, {"s": np.array([6], np.int32)}, "the shape is not a constant int64 list"),
    "a shape that is a scalar": (
        [("Reshape", "x s", "y")], I16, {"s": np.int64(6)}, "the shape is not a constant int64 list"),
    "a shape of another size": ([("Reshape", "x s", "y")], I16, {"s": i64(4)}, "(2, 3) does not reshape to [4]"),
    "a shape of which the rest cannot be inferred": (
        [("Reshape", "x s", "y")], I16, {"s": i64(4, -1)}, "(2, 3) does not reshape to [4, -1]"),
    "two inferred dimensions": ([("Reshape", "x s", "y")], I16, {"s": i64(-1, -1)}, "shape [-1, -1]"),
    "a dimension of -2": ([("Reshape", "x s", "y")], I16, {"s": i64(-2, 3)}, "shape [-2, 3]"),
    "a dimension copied from nowhere": (
        [("Reshape", "x s", "y")], I16, {"s": i64(2, 3, 0)}, "shape [2, 3, 0] copies a dimension that (2, 3) lacks"),
    "nine dimensions": (
        [("Reshape", "x s", "y")], I16, {"s": i64(*[1] * 8, 6)}, "the shape has 9 entries, at most 8 are possible"),
    "allowzero": ([("Reshape", "x s", "y", {"allowzero": 1})], I16, {"s": i64(6)}, "allowzero is not allowed"),
    "an order of other axes": (
        [("Transpose", "x", "y", {"perm": [0, 0]})], I16, None, "perm [0, 0] does not fit 2 dimensions"),
    "a slice of nothing": (
        [("Slice", "x a b", "y")], I16, {"a": i64(1), "b": i64(1)},
        "its result has shape (0, 3): at most 8 dimensions"),
    "a slice with step 0": (
        [("Slice", "x a b a a", "y")], I16, {"a": i64(0), "b": i64(1)}, "its lists are empty or of different lengths"),
    "a slice with lists of different lengths": (
        [("Slice", "x a b", "y")], I16, {"a": i64(0), "b": i64(1, 1)}, "its lists are empty or of different lengths"),
    "a slice with empty lists, which fails on scalars": (
        [("Slice", "x a a", "y")], {"x": ("int8", [])}, {"a": i64()}, "its lists are empty or of different lengths"),
    "a slice twice on an axis": (
        [("Slice", "x a b c", "y")], I16, {"a": i64(0, 0), "b": i64(1, 1), "c": i64(1, -1)}, "an axis is sliced twice"),
    "a slice without its ends": ([("Slice", "x a", "y")], I16, {"a": i64(0)}, "it needs data, starts and ends"),
    "a slice from a computed start": (
        [("Slice", "x s b", "y")], I16 | {"s": ("int64", [1])}, {"b": i64(1)},
        "the list of starts is not a constant int64 list"),
    "a split into lengths that do not add up": (
        [("Split", "x a", "y z", {"axis": 1})], I16, {"a": i64(1, 1)}, "its lengths do not cut 3 into 2 parts"),
    "a split into an empty part": (
        [("Split", "x a", "y z", {"axis": 1})], I16, {"a": i64(0, 3)}, "its lengths do not cut 3 into 2 parts"),
    "a split into unequal parts": (
        [("Split", "x", "y z", {"axis": 1, "num_outputs": 2})], I16, None,
        "num_outputs does not cut the axis into equal parts"),
    "a split with neither lengths nor parts": (
        [("Split", "x", "y z", {"axis": 0})], I16, None, "attribute 'num_outputs' is missing or not an integer"),
    "a split with both": (
        [("Split", "x a", "y z", {"axis": 0, "num_outputs": 2})], I16, {"a": i64(1, 1)},
        "unknown attributes ['num_outputs']"),
    "parts of different ranks": (
        [("Concat", "x a", "y", {"axis": 0})], I16, {"a": np.ones(3, np.int16)}, "do not fit together"),
    "parts of different dtypes": (
        [("Concat", "x a", "y", {"axis": 0})], I16, {"a": np.ones((1, 3), np.int8)}, "do not fit together"),
    "parts of different widths": (
        [("Concat", "x a", "y", {"axis": 0})], I16, {"a": np.ones((1, 2), np.int16)}, "do not fit together"),
    "scalars set side by side": (
        [("Concat", "x x", "y", {"axis": 0})], {"x": ("int8", [])}, None, "axis 0 of a tensor with 0 dimensions"),
    "a part that is empty": (
        [("Concat", "a b", "y", {"axis": 0})], I16, {"a": i64(), "b": i64(1)}, "a part is empty"),
    "an axis that is not given": ([("Concat", "x x", "y")], I16, None, "attribute 'axis' is missing or not an integer"),
    "an expansion that does not broadcast": (
        [("Expand", "x s", "y")], I16, {"s": i64(2, 2)}, "(2, 3) does not expand to [2, 2]"),
    "an expansion to nothing": ([("Expand", "x s", "y")], I16, {"s": i64(0, 1)}, "shape [0, 1]"),
    "an expansion to 2**62 elements": (
        [("Expand", "x s", "y")], {"x": ("int8", [1, 2**31 - 1])}, {"s": i64(2**31, 1)},
        "its result has shape (2147483648, 2147483647)"),
    "a squeeze of an axis of 2": ([("Squeeze", "x a", "y")], I16, {"a": i64(0)}, "it squeezes axes [0] of (2, 3)"),
    "a squeeze of no axes, which runtimes take for all": (
        [("Squeeze", "x a", "y")], {"x": ("int8", [1, 3])}, {"a": i64()},
        "its list of axes is empty, which some runtimes take for all axes and others for none"),
    "a squeeze with an empty name for its axes, which onnxruntime cannot run": (
        [("Squeeze", "x -", "y")], {"x": ("int8", [1, 3])}, None, "the list of axes is not a constant int64 list"),
    "a split with an empty name for its lengths, which older onnxruntimes cannot run": (
        [("Split", "x -", "y", {"num_outputs": 1})], {"x": ("int8", [2])}, None,
        "the list of lengths is not a constant int64 list"),
    "a squeeze twice of an axis": (
        [("Squeeze", "x a", "y")], {"x": ("int8", [1])}, {"a": i64(0, -1)}, "its axes repeat"),
    "new axes that repeat": ([("Unsqueeze", "x a", "y")], I16, {"a": i64(0, 0)}, "its axes repeat"),
    "new axes that are not given": (
        [("Unsqueeze", "x", "y")], I16, None, "the list of axes is not a constant int64 list"),
    "a ninth dimension": (
        [("Unsqueeze", "x a", "y")], {"x": ("int8", [1] * 8)}, {"a": i64(0)},
        "its result has shape (1, 1, 1, 1, 1, 1, 1, 1, 1)"),
}  # fmt: skip

PROGRAMS = {
    "an operator that is not on the list": (
        [*CAST, ("Exp", "f", "y")], I16, None, "Exp node 'number 1': Exp is not on the list of exact operators"),
    "a tensor that no node computes": (
        [*CAST, ("Neg", "g", "y")], I16, None, "Neg node 'number 1': its input 'g' is not computed by an earlier node"),
    "a tensor that is computed later: a cycle": (
        [("Identity", "b", "a"), ("Identity", "a", "b"), ("Identity", "b", "y")], I16, None,
        "Identity node 'number 0': its input 'b' is not computed by an earlier node"),
    "an output that no node computes": (CAST, I16, None, "output 'y': no node computes it"),
    "a name that is used twice": (
        [*CAST, ("Neg", "f", "f"), ("Neg", "f", "y")], I16, None, "its output 'f' has a name that is taken"),
    "a name that an input has": (
        [("Cast", "x", "x", {"to": DOUBLE})], I16, None, "its output 'x' has a name that is taken"),
    "a name that a constant has": (
        [("Cast", "x", "k", {"to": DOUBLE})], I16, {"k": i64(1)}, "its output 'k' has a name that is taken"),
    "attributes that an operator does not have": (
        [*CAST, ("Neg", "f", "y", {"alpha": 1, "beta": 2})], I16, None, "unknown attributes ['alpha', 'beta']"),
    "two outputs of an operator that has one": (
        [*CAST, ("Neg", "f", "y z")], I16, None, "it has 2 outputs, 1 are expected"),
    "constants on no common grid": (
        CAST, I16, {"k": np.array([1.0, 2.0**-60])}, "initialiser 'k': its values share no grid of 2**53 steps"),
    "0.1 is a dyadic number like any float": ([("Identity", "k", "y")], I16, {"k": real(0.1)}, ""),
    "a constant that is not a number": (
        CAST, I16, {"k": real(float("nan"))}, "initialiser 'k': it has NaN or infinite values"),
    "a constant without bound": (
        CAST, I16, {"k": real(float("inf"))}, "initialiser 'k': it has NaN or infinite values"),
    "a constant below every grid": (CAST, I16, {"k": real(5e-324)}, "initialiser 'k': its values share no grid"),
    "an output that is an empty list": ([], I16, {"y": i64()}, "output 'y': it is empty"),
    "an output that is an input is proven": ([], {"y": ("int16", [1])}, None, ""),
    "an output that is a constant is proven": ([], I16, {"y": i64(1)}, ""),
    "a product of 2**36 elements": (
        [("Expand", "x s", "a"), ("Cast", "a", "b", {"to": DOUBLE}), ("Transpose", "b", "c"), ("MatMul", "b c", "y")],
        {"x": ("int8", [1])}, {"s": i64(2**18, 2)}, "its result has shape (262144, 262144)"),
}  # fmt: skip

CASES = {
    name: case
    for group in (ELEMENTWISE, ROUNDING, PRODUCTS, CHOOSING, MOVING, PROGRAMS)
    for name, case in group.items()
}


@pytest.mark.parametrize("case", CASES)
def test_check__graph__is_refused_with_node_and_reason_or_proven(case: str) -> None:
    nodes, inputs, constants, expected = CASES[case]
    outputs = "q y" if case == "a quotient as an output" else "y"
    found = reason(nodes, inputs, constants, outputs)
    assert expected in found if expected else found == "", found


def test_check__129_products_of_2_to_the_46__are_more_than_2_to_the_53() -> None:
    nodes: list[Row] = [("Expand", "x s", "e"), ("Cast", "e", "a", {"to": DOUBLE}), ("Transpose", "a", "b")]
    nodes += [("MatMul", "a b", f"p{number}") for number in range(129)]
    found = reason(nodes, {"x": ("int8", [1, 1])}, {"s": i64(2**15, 2**16)}, outputs="p0")
    assert found == "MatMul node 'number 130': the program needs more than 2**53 multiply-accumulates"
