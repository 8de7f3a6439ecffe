"""Small exact programs that use one instruction in all its forms, for comparison between implementations.

Variants of an instruction differ in ranks (0 to 4), dtypes, operands (see `drafts`; also the same tensor twice),
optional inputs (present, left out, or an empty name), attributes (given or left out, negative axes), grids up to the
limits, and outputs (also inputs and constants).
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import onnx

from tests.exact.drafts import Draft, clipped, times_constant
from verifier.exact import NotExactError
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import BOOL, DTYPES, FLOAT, WIDE_INTEGERS, Value

# How often operands are drawn again for a variant that is not proven.
ATTEMPTS = 40

# Each function draws one form of an instruction; some are refused.


def _elementwise(v: Draft, op: str) -> list[Value]:
    dtype, shape = v.choose.choice((FLOAT, FLOAT, *WIDE_INTEGERS)), v.shape()
    a = v.operand(dtype, shape)
    b = a if v.choose.random() < 0.1 else v.operand(dtype, v.partner_shape(shape))
    return [v.builder.op(op, *((a, b) if v.choose.random() < 0.7 else (b, a)))]


def _single(v: Draft, op: str) -> list[Value]:
    dtype = v.choose.choice((FLOAT, *WIDE_INTEGERS)) if op == "Neg" else FLOAT
    return [v.builder.op(op, v.operand(dtype, v.shape()))]


def _extreme(v: Draft, op: str) -> list[Value]:
    dtype, shape = v.choose.choice((FLOAT, *WIDE_INTEGERS)), v.shape()
    others = [v.operand(dtype, v.partner_shape(shape)) for _ in range(v.choose.randint(0, 3))]
    return [v.builder.op(op, v.operand(dtype, shape), *others)]


def _clip(v: Draft, op: str) -> list[Value]:
    dtype = v.choose.choice((FLOAT, *WIDE_INTEGERS))
    shape = v.choose.choice(((), (), (), (1,)))
    low, high = (v.choose.choice((None, v.constant(dtype, shape), v.constant(dtype, ()))) for _ in range(2))
    return [v.builder.op(op, v.operand(dtype, v.shape()), low, high)]


def _div(v: Draft, op: str) -> list[Value]:
    shape = v.shape()
    a, b = v.operand(FLOAT, shape), v.operand(FLOAT, v.partner_shape(shape))
    smallest = v.builder.constant(np.ldexp(v.choose.choice((1.0, 3.0)), b.grid))
    quotient = v.builder.op(op, a, v.builder.op("Max", b, smallest))
    return [v.builder.op("Floor", quotient)]


def _sqrt(v: Draft, op: str) -> list[Value]:
    whole = v.builder.op("Floor", v.operand(FLOAT, v.shape()))
    limits = [v.builder.constant(np.float64(item)) for item in (0, 2**52 - 1)]
    return [v.builder.op("Floor", v.builder.op(op, v.builder.op("Clip", whole, *limits)))]


def _matmul(v: Draft, op: str) -> list[Value]:
    """Operands of one to four dimensions, each a vector, a matrix or several, either of them constant.

    Half of the variants have one size on all axes, so that operands that are mixed up still have shapes that fit.
    """
    left, right = v.shape(1), v.shape(1)
    if v.choose.random() < 0.5:
        left, right = ((left[-1],) * len(shape) for shape in (left, right))
    right = (left[-1],) if len(right) == 1 else (*right[:-2], left[-1], right[-1])
    if v.choose.random() < 0.5:  # the same number of matrices, or one
        right = (*v.partner_shape(left[:-2]), *right[-2:])
    a = v.operand(FLOAT, left)
    b = v.constant(FLOAT, right, 6) if v.choose.random() < 0.5 else v.operand(FLOAT, right)
    product = v.builder.op(op, clipped(v, a) if a.constant is None else a, b)
    return [times_constant(v, product) if v.choose.random() < 0.6 else product]


def _reduction(v: Draft, op: str) -> list[Value]:
    dtype, shape = v.choose.choice((FLOAT, *WIDE_INTEGERS)), v.shape()
    drawn = v.choose.sample(range(len(shape)), v.choose.randint(0, len(shape)))
    axes = v.list(*(axis - len(shape) * v.choose.randint(0, 1) for axis in drawn))
    lists = v.choose.choice(([], [None], [axes], [axes]))
    attributes = v.given(keepdims=v.choose.randint(0, 1), noop_with_empty_axes=v.choose.randint(0, 1))
    data = v.list() if v.choose.random() < 0.05 else v.operand(dtype, shape)
    return [v.builder.op(op, data, *lists, **attributes)]


def _gather(v: Draft, op: str) -> list[Value]:
    shape = v.shape(1)
    axis = v.choose.choice((0, v.axis(len(shape))))
    data = v.operand(v.choose.choice(DTYPES), shape)
    indices = v.index(v.shape()[:2], shape[axis])
    return [v.builder.op(op, data, indices, **(v.given(axis=0) if axis == 0 else {"axis": axis}))]


def _gather_elements(v: Draft, op: str) -> list[Value]:
    shape = v.shape(1)
    axis = v.axis(len(shape))
    data = v.operand(v.choose.choice(DTYPES), shape)
    longer = [v.choose.randint(1, dim + 2 * (i == axis % len(shape))) for i, dim in enumerate(shape)]
    return [v.builder.op(op, data, v.index(tuple(longer), shape[axis]), axis=axis)]


def _where(v: Draft, op: str) -> list[Value]:
    dtype, shape = v.choose.choice((FLOAT, FLOAT, *WIDE_INTEGERS)), v.shape()
    choices = [v.operand(dtype, v.partner_shape(shape)) for _ in range(2)]
    return [v.builder.op(op, v.operand(BOOL, v.choose.choice((shape, v.partner_shape(shape)))), *choices)]


def _logic(v: Draft, op: str) -> list[Value]:
    shape = v.shape()
    others = [] if op == "Not" else [v.operand(BOOL, v.partner_shape(shape))]
    return [v.builder.op(op, v.operand(BOOL, shape), *others)]


def _cast(v: Draft, op: str) -> list[Value]:
    return [v.builder.op(op, v.operand(v.choose.choice(DTYPES), v.shape()), to=PROTO_OF[v.choose.choice(DTYPES)])]


def _moved(v: Draft, minimum: int = 0) -> Value:
    """The operand of an instruction that moves elements of any dtype."""
    return v.operand(v.choose.choice((*DTYPES, FLOAT, FLOAT)), v.shape(minimum), computed=v.choose.random() < 0.7)


def _identity(v: Draft, op: str) -> list[Value]:
    return [v.builder.op(op, _moved(v))]


def _reshape(v: Draft, op: str) -> list[Value]:
    value = _moved(v)
    shapes = [(-1,), (value.size,), value.shape[::-1], (1, -1), (1, *value.shape), tuple(0 for _ in value.shape)]
    shapes += [()] * 2 if value.size == 1 else []
    return [v.builder.op(op, value, v.list(*v.choose.choice(shapes)), **v.given(allowzero=0))]


def _transpose(v: Draft, op: str) -> list[Value]:
    value = _moved(v)
    rank = len(value.shape)
    return [v.builder.op(op, value, **(v.given(perm=v.choose.sample(range(rank), rank)) if rank else {}))]


def _slice(v: Draft, op: str) -> list[Value]:
    value = _moved(v, 1)
    axes = v.choose.sample(range(len(value.shape)), v.choose.randint(1, len(value.shape)))
    bounds = (-(2**63), -5, -3, -2, -1, 0, 0, 1, 2, 4, 2**63 - 1, 2**63 - 1)
    starts, ends = ([v.choose.choice(bounds) for _ in axes] for _ in range(2))
    steps = v.list(*(v.choose.choice((1, 1, 2, -1, -2)) for _ in axes))
    signed = v.list(*(axis - len(value.shape) * v.choose.randint(0, 1) for axis in axes))
    rest = v.choose.choice(([], [None], [None, None], [signed], [signed, None], [None, steps], [signed, steps]))
    return [v.builder.op(op, value, v.list(*starts), v.list(*ends), *rest)]


def _split(v: Draft, op: str) -> list[Value]:
    value = _moved(v, 1)
    axis = v.choose.choice((0, v.axis(len(value.shape))))
    at = v.given(axis=0) if axis == 0 else {"axis": axis}
    dim = value.shape[axis]
    if v.choose.random() < 0.5:
        parts = v.choose.choice([count for count in range(1, dim + 1) if dim % count == 0])
        return v.builder.ops(op, (value,), parts, num_outputs=parts, **at)
    first = v.choose.randint(1, dim)
    lengths = (first,) if first == dim else (first, dim - first)
    return v.builder.ops(op, (value, v.list(*lengths)), len(lengths), **at)


def _concat(v: Draft, op: str) -> list[Value]:
    first = _moved(v, 1)
    axis = v.axis(len(first.shape))
    shape = list(first.shape)
    shape[axis] = v.choose.randint(1, 3)
    others = [v.operand(first.dtype, tuple(shape)) for _ in range(v.choose.randint(0, 2))]
    return [v.builder.op(op, *others, first, *others[:1], axis=axis)]


def _expand(v: Draft, op: str) -> list[Value]:
    value = _moved(v)
    wanted = v.choose.choice((value.shape, (), (1,), (2, *value.shape), v.partner_shape(value.shape)))
    return [v.builder.op(op, value, v.list(*wanted))]


def _squeeze(v: Draft, op: str) -> list[Value]:
    value = _moved(v)
    ones = [axis for axis, dim in enumerate(value.shape) if dim == 1]
    listed = v.list(*(axis - len(value.shape) * v.choose.randint(0, 1) for axis in ones[: v.choose.randint(1, 4)]))
    return [v.builder.op(op, value, *v.choose.choice(([], [None], [listed], [listed])))]


def _unsqueeze(v: Draft, op: str) -> list[Value]:
    value = _moved(v)
    rank = len(value.shape) + v.choose.randint(1, 2)
    axes = v.choose.sample(range(rank), rank - len(value.shape))
    return [v.builder.op(op, value, v.list(*(axis - rank * v.choose.randint(0, 1) for axis in axes)))]


Form = Callable[[Draft, str], list[Value]]
FORMS: dict[str, Form] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"), _elementwise),
    **dict.fromkeys(("Neg", "Round", "Floor"), _single),
    **dict.fromkeys(("Max", "Min"), _extreme),
    **dict.fromkeys(("ReduceSum", "ReduceMax", "ReduceMin"), _reduction),
    **dict.fromkeys(("And", "Or", "Not"), _logic),
    "Clip": _clip,
    "Div": _div,
    "Sqrt": _sqrt,
    "MatMul": _matmul,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Where": _where,
    "Cast": _cast,
    "Identity": _identity,
    "Reshape": _reshape,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Concat": _concat,
    "Expand": _expand,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
}


def variant(op: str, number: int) -> onnx.ModelProto | None:
    """Draw one program that uses an instruction; None where no attempt is proven."""
    choose = random.Random(f"{op} {number}")
    for _ in range(ATTEMPTS):
        drawn = Draft(choose)
        try:
            results = FORMS[op](drawn, op)
            outputs = [value for result in results for value in drawn.follow(result)]
        except NotExactError:
            continue
        if choose.random() < 0.5:
            outputs += results
        if choose.random() < 0.2:
            outputs += [*drawn.inputs[:1], drawn.constant(choose.choice(DTYPES), drawn.shape())]
        return _direct(drawn.builder.model({f"y{number}": value for number, value in enumerate(outputs)}), choose)
    return None


def _direct(model: onnx.ModelProto, choose: random.Random) -> onnx.ModelProto:
    """Make some outputs the tensors themselves, instead of an Identity of them."""
    graph = model.graph
    named: set[str] = set()
    for output in graph.output:
        node = next(node for node in graph.node if node.output[0] == output.name)
        (source,) = node.input
        if choose.random() < 0.5 and source not in named:
            named.add(source)
            output.name = source
            graph.node.remove(node)
    return model
