"""Symbolic dimensions: an exact program has static shapes, so each dimension that an exporter left open gets a size.

A symbolic dimension is known by its name in the file, such as "batch". One without a name is known by the input and the
axis, as in "x[0]".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx

from verifier.exact.errors import LoweringError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class SymbolicDimension:
    """A dimension of an input that has no size: `key` is its name, or the input and the axis."""

    input: str
    axis: int
    key: str
    proto: onnx.TensorShapeProto.Dimension


def fix_dimensions(
    model: onnx.ModelProto, feeds: Mapping[str, Shape], batch: int | None = None, named: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Give each symbolic dimension of a model's inputs a size, in place; return the sizes by the dimensions' names.

    `named` gives sizes by name, and `batch` is the size of every other leading dimension. What neither gives follows
    from the shapes of the feeds, in which batches are stacked along the first axis: a dimension that is not leading has
    the size of the feed's axis, and a leading one is 1 where the feeds cannot be cut into larger batches.

    Errors: LoweringError for a name that the model does not have, for contradicting sizes, and for a leading dimension
    whose size the feeds leave open.
    """
    _add_missing_shapes(model, feeds)
    found = list(_symbolic(model))
    sizes = _declared_sizes(found, batch, named or {})
    for item in found:
        if item.axis > 0 and len(feeds.get(item.input, ())) > item.axis and item.key not in (named or {}):
            _set(sizes, item, feeds[item.input][item.axis])
    for item in found:
        if item.key not in sizes and item.input in feeds:
            lengths = [feeds[other.input][0] for other in found if other.key == item.key and feeds.get(other.input)]
            if math.gcd(*lengths) != 1:
                raise LoweringError(
                    f"input {item.input!r}",
                    f"its dimension 0 ({item.key}) is symbolic, and the {lengths[0]} rows of its feed can be cut into "
                    f"batches of several sizes: give --batch N, or --dim {item.key}=N",
                )
            sizes[item.key] = 1
    _apply(model, found, sizes)
    return sizes


def fix_to_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Give each symbolic dimension of a model's inputs the size that it has in `shapes`, in place.

    Errors: LoweringError for contradicting sizes.
    """
    _add_missing_shapes(model, shapes)
    found = list(_symbolic(model))
    sizes: dict[str, int] = {}
    for item in found:
        if len(shapes.get(item.input, ())) > item.axis:
            _set(sizes, item, shapes[item.input][item.axis])
    _apply(model, found, sizes)


def _symbolic(model: onnx.ModelProto) -> Iterator[SymbolicDimension]:
    weights = {tensor.name for tensor in model.graph.initializer}
    for info in model.graph.input:
        if info.name not in weights:
            for axis, dim in enumerate(info.type.tensor_type.shape.dim):
                if not dim.HasField("dim_value") or dim.dim_value < 0:
                    yield SymbolicDimension(info.name, axis, dim.dim_param or f"{info.name}[{axis}]", dim)


def _add_missing_shapes(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> None:
    """Give inputs without a shape the rank of their feed."""
    for info in model.graph.input:
        tensor = info.type.tensor_type
        if info.name in shapes and not tensor.HasField("shape"):
            tensor.shape.SetInParent()
            for _ in shapes[info.name]:
                tensor.shape.dim.add()


def _declared_sizes(found: list[SymbolicDimension], batch: int | None, named: Mapping[str, int]) -> dict[str, int]:
    keys = sorted({item.key for item in found})
    has = f"it has {', '.join(keys)}" if keys else "all of its inputs have static shapes"
    for name in named:
        if name not in keys:
            raise LoweringError(f"dimension {name!r}", f"the model has no such symbolic dimension: {has}")
    sizes = dict(named)
    if batch is not None:
        leading = [item for item in found if item.axis == 0]
        if not leading:
            raise LoweringError("the leading dimension", f"no input's is symbolic: {has}, so leave out --batch")
        for item in leading:
            sizes.setdefault(item.key, batch)
    return sizes


def _set(sizes: dict[str, int], item: SymbolicDimension, size: int) -> None:
    known = sizes.setdefault(item.key, size)
    if known != size:
        raise LoweringError(
            f"input {item.input!r}",
            f"its dimension {item.axis} ({item.key}) is {size} in the feed, elsewhere {known}: use feeds of one size",
        )


def _apply(model: onnx.ModelProto, found: list[SymbolicDimension], sizes: Mapping[str, int]) -> None:
    for item in found:
        if item.key in sizes:
            item.proto.dim_value = sizes[item.key]
    for info in (*model.graph.output, *model.graph.value_info):
        for dim in info.type.tensor_type.shape.dim:
            if dim.dim_param in sizes:
                dim.dim_value = sizes[dim.dim_param]
