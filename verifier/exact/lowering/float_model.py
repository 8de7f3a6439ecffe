"""A float model that its owner has on disk, and the feeds that are meant for it.

Unlike an exact file it is trusted: onnxruntime runs it as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import helper

from verifier.exact.errors import FeedError, LoweringError
from verifier.exact.lowering.canonicalise import static_shape, widen

Array = NDArray[Any]
# protobuf writes nothing larger, and onnxruntime is handed one message.
MAX_BYTES = 2**31 - 1


@dataclass(frozen=True)
class FloatInput:
    """An input of a float model; its dtype is NumPy's."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def real(self) -> bool:
        """Whether it holds floats, not token ids, masks or bools."""
        return np.issubdtype(self.dtype, np.floating)


def load_float_model(file: Path) -> onnx.ModelProto:
    """Read a float model, in single precision; external data comes from the file's folder. Errors: LoweringError."""
    try:
        model = onnx.load(file)
    except DecodeError as error:
        raise LoweringError(f"{file}", f"it is no ONNX model: {error}") from error
    except onnx.checker.ValidationError as error:
        raise LoweringError(f"{file}", f"keep its weights' files beside it: {error}") from error
    except OSError as error:
        raise LoweringError(f"{file}", f"its data cannot be read: {error}") from error
    widen(model)
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > MAX_BYTES:
        raise LoweringError(
            f"{file}", f"its weights have {size} bytes, at most {MAX_BYTES} are lowered: split the model"
        )
    if not model.graph.output:
        raise LoweringError(f"{file}", "it has no outputs: it is no ONNX model that could be run")
    return model


def inputs_of(model: onnx.ModelProto) -> list[FloatInput]:
    """What has to be fed, in order. Errors: LoweringError for a shape that is not static."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for info in model.graph.input:
        if info.name not in weights:
            dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            inputs.append(FloatInput(info.name, dtype, static_shape(info)))
    return inputs


def batches(inputs: Sequence[FloatInput], arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Cut stacked arrays into feeds.

    The first axis of an array is a multiple of its input's; an array of one batch alone, as of an adapter's weights, is
    part of every feed. Errors: FeedError naming the array and what it should be.
    """
    unknown = sorted(set(arrays) - {item.name for item in inputs})
    if unknown:
        raise FeedError(f"no input is called {unknown[0]!r}; inputs are {[item.name for item in inputs]}")
    stacks = {item.name: _stack(item, arrays.get(item.name)) for item in inputs}
    count = max((len(stack) for stack in stacks.values()), default=1)
    for name, stack in stacks.items():
        if len(stack) not in (1, count):
            raise FeedError(f"array {name!r} has {len(stack)} batches, others have {count}")
    return [{name: stack[at if len(stack) > 1 else 0] for name, stack in stacks.items()} for at in range(count)]


def _stack(item: FloatInput, array: Array | None) -> Array:
    """An input's batches along a new first axis."""
    if array is None:
        raise FeedError(f"there is no array {item.name!r}")
    both_whole = array.dtype.kind in "ui" and item.dtype.kind in "ui"
    if not both_whole and not np.can_cast(array.dtype, item.dtype, "same_kind"):
        raise FeedError(f"array {item.name!r} is {array.dtype}, the model takes {item.dtype}")
    if array.shape == item.shape:
        return array.astype(item.dtype)[None]
    first = item.shape[0] if item.shape else 1
    if array.ndim != len(item.shape) or array.shape[1:] != item.shape[1:] or not len(array) or len(array) % first:
        raise FeedError(
            f"array {item.name!r} is {list(array.shape)}, it should be {list(item.shape)} or such batches stacked "
            "along the first axis"
        )
    return array.astype(item.dtype).reshape(-1, *item.shape)
