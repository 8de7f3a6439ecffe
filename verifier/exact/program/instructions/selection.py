"""Gather, GatherElements, Where, comparisons and logic: exact because they only compare and choose."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.exact.program.instructions.site import Compute, InstructionSite, Operands
from verifier.exact.program.values import BOOL, WIDE_INTEGERS, Value


def infer_gather(site: InstructionSite) -> list[Value]:
    """Gather: the interval of the data; a constant where data and indices are."""
    data, indices, axis = _lookup(site)
    shape = (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])
    constant = None
    if data.constant is not None and indices.constant is not None:
        site.spend(math.prod(shape))
        constant = np.asarray(np.take(data.constant, indices.constant, axis=axis))
    return [site.moved(data, shape, constant)]


def compute_gather(operands: Operands) -> list[NDArray[Any]]:
    """Gather: data[…, indices, …] on one axis."""
    data, indices = operands.q
    return [np.take(data, indices, axis=operands.axis())]


def infer_gather_elements(site: InstructionSite) -> list[Value]:
    """GatherElements: the interval of the data."""
    data, indices, axis = _lookup(site)
    if len(indices.shape) != len(data.shape) or any(
        i != axis and dim > data.shape[i] for i, dim in enumerate(indices.shape)
    ):
        raise site.fail(f"indices of shape {indices.shape} do not fit data of shape {data.shape}")
    return [site.moved(data, indices.shape, None)]


def compute_gather_elements(operands: Operands) -> list[NDArray[Any]]:
    """GatherElements: output[p] = data[p with p[axis] replaced by indices[p]]."""
    (data, indices), axis = operands.q, operands.axis()
    # Other axes may be shorter in the indices: only that part of the data is read.
    part = tuple(slice(None) if i == axis else slice(dim) for i, dim in enumerate(indices.shape))
    return [np.take_along_axis(data[part], indices.astype(np.int64), axis=axis)]


def _lookup(site: InstructionSite) -> tuple[Value, Value, int]:
    """Data, indices and axis of a lookup, its indices proven to be within the axis."""
    data, indices = site.arguments(2)
    if not data.shape:
        raise site.fail("it looks up in a scalar")
    axis = site.axis(site.integer("axis", 0), len(data.shape))
    if indices.dtype not in WIDE_INTEGERS:
        raise site.fail(f"its indices are {indices.dtype}: int32 or int64 is needed")
    if indices.lo < 0 or indices.hi >= data.shape[axis]:
        raise site.fail(
            f"its index can be {indices.lo} to {indices.hi}, the axis has {data.shape[axis]}: clip it first"
        )
    return data, indices, axis


def infer_where(site: InstructionSite) -> list[Value]:
    """Where: the interval that holds those of both choices."""
    condition, x, y = site.arguments(3)
    if condition.dtype != BOOL:
        raise site.fail(f"its condition is {condition.dtype}: bool is needed")
    dtype, shape, grid = site.numeric(x, y), site.broadcast(condition, x, y), site.align(x, y)
    (xlo, xhi), (ylo, yhi) = x.aligned(grid), y.aligned(grid)
    return [site.result(dtype, shape, grid, min(xlo, ylo), max(xhi, yhi))]


def compute_where(operands: Operands) -> list[NDArray[Any]]:
    """Where: x where the condition holds, y elsewhere."""
    grid = operands.outputs[0].grid
    return [np.where(operands.q[0] != 0, operands.at(1, grid), operands.at(2, grid))]


def infer_comparison(site: InstructionSite) -> list[Value]:
    """Equal, Less, Greater, LessOrEqual, GreaterOrEqual: a bool."""
    a, b = site.arguments(2)
    site.numeric(a, b)
    site.align(a, b)
    return [site.result(BOOL, site.broadcast(a, b), 0, 0, 1)]


def compute_comparison(operation: Any) -> Compute:
    """Make the meaning of a comparison from NumPy's: whether it holds for a and b."""

    def compute(operands: Operands) -> list[NDArray[Any]]:
        a, b = operands.aligned()
        return [operation(a, b).astype(np.int64)]

    return compute


def infer_logic(site: InstructionSite) -> list[Value]:
    """And, Or, Not of bools: a bool."""
    values = site.arguments(1 if site.op == "Not" else 2)
    if any(value.dtype != BOOL for value in values):
        raise site.fail(f"its operands are {[value.dtype for value in values]}: bool is needed")
    return [site.result(BOOL, site.broadcast(*values), 0, 0, 1)]


def compute_logic(operation: Any) -> Compute:
    """Make the meaning of a logical operator from NumPy's."""

    def compute(operands: Operands) -> list[NDArray[Any]]:
        return [operation(*(q != 0 for q in operands.q)).astype(np.int64)]

    return compute
