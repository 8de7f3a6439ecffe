"""Rounds the tensors of an adapter to the grids of a submission.

A and B of a LoRA pair can be scaled against each other, component by component, without changing their product. Each
component is scaled until both halves use the same share of their grids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.tensors import Schema, TensorSpec
from verifier.tasks.errors import PackError

Floats = dict[str, NDArray[np.float64]]
Schemas = Mapping[str, TensorSpec]  # by the tensor's name


def require_fit(floats: Floats, schema: Schemas) -> None:
    """Check that there is each tensor of the schema, of its shape and finite. Errors: PackError naming the tensor."""
    for name in schema:
        if name not in floats:
            raise PackError(f"{name}: the adapter does not have it")
    for name, array in floats.items():
        if array.shape != schema[name].shape:
            raise PackError(f"{name}: shape {list(array.shape)}, the task needs {list(schema[name].shape)}")
        if not np.isfinite(array).all():
            raise PackError(f"{name}: it has NaN or infinite values")


def balanced(floats: Floats, schema: Schemas) -> Floats:
    """Scale each row of A and its column of B against each other until both use the same share of their grids."""
    result = dict(floats)
    for name, a in floats.items():
        if not name.endswith(".lora_A"):
            continue
        other = name.removesuffix("_A") + "_B"
        b = floats[other]
        used_a = np.abs(a).max(axis=1) / _limit(schema[name])
        used_b = np.abs(b).max(axis=0) / _limit(schema[other])
        live = (used_a > 0) & (used_b > 0)  # a component one half of which is zero has a product of zero
        scale = np.sqrt(np.divide(used_b, used_a, out=np.zeros_like(used_a), where=live))
        result[name] = a * scale[:, None]
        result[other] = np.divide(b, scale, out=np.zeros_like(b), where=live)
    return result


def rounded(spec: TensorSpec, array: NDArray[np.float64]) -> NDArray[Any]:
    """Round to the grid, ties to even. Errors: PackError naming the tensor when its values exceed the grid."""
    q = np.rint(np.ldexp(array, -spec.grid))
    limits = np.iinfo(spec.dtype)
    if q.size and (q.min() < limits.min or q.max() > limits.max):
        raise PackError(
            f"{spec.name}: its largest value is {np.abs(array).max():.4g}, the task's grid holds {_limit(spec):.4g}: "
            "train with a smaller learning rate or with weight decay"
        )
    fitting: NDArray[Any] = q.astype(np.dtype(spec.dtype))
    return fitting


def saturated(schema: Schema, floats: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Round the tensors of a builder's own submission to their grids; values beyond a grid become its limits."""
    result = {}
    for spec in schema:
        limits = np.iinfo(spec.dtype)
        steps = np.rint(np.ldexp(floats[spec.name].astype(np.float64), -spec.grid))
        result[spec.name] = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
    return result


def worst_error(floats: Floats, packed: Mapping[str, NDArray[Any]], schema: Schemas) -> tuple[float, str]:
    """Return the largest rounding error of an entry, and the name of its tensor.

    The entries are those of the products B·A, reported under the name of B, and of all tensors outside such pairs.
    """
    errors = {}
    real = {name: np.ldexp(q.astype(np.float64), schema[name].grid) for name, q in packed.items()}
    for name in floats:
        if name.endswith(".lora_A"):
            other = name.removesuffix("_A") + "_B"
            errors[other] = np.abs(floats[other] @ floats[name] - real[other] @ real[name]).max()
        elif not name.endswith(".lora_B"):
            errors[name] = np.abs(floats[name] - real[name]).max()
    worst = max(errors, key=lambda name: float(errors[name]))
    return float(errors[worst]), worst


def _limit(spec: TensorSpec) -> float:
    """The largest number that the tensor's grid holds on both sides of zero."""
    return math.ldexp(float(np.iinfo(spec.dtype).max), spec.grid)
