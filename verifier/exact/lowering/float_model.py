"""Loads a float model from disk, and cuts stacked arrays into its feeds.

Unlike an exact file, a float model is trusted: it belongs to the user who lowers it, and onnxruntime runs it as it is.
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
from onnx import TensorProto, helper

from verifier.exact.errors import FeedError, LoweringError, NotExactError
from verifier.exact.lowering.canonicalise import node_description, static_shape, widen
from verifier.exact.program.wire import check_encoding

Array = NDArray[Any]
# Maximum bytes of a model's weights: protobuf serialises at most 2 GiB, and onnxruntime receives the model as one
# message.
MAX_WEIGHT_BYTES = 2**31 - 1


@dataclass(frozen=True)
class FloatInput:
    """An input of a float model, with its NumPy dtype.

    `description` names it in messages, together with the node that reads it first.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    description: str

    @property
    def real(self) -> bool:
        """Whether it holds floats, as opposed to token ids, masks or bools."""
        return np.issubdtype(self.dtype, np.floating)


def load_float_model(file: Path) -> onnx.ModelProto:
    """Read a float model and convert it to single precision. External data is read from the file's folder.

    Errors: LoweringError for a file that is not a runnable ONNX model or has more than MAX_WEIGHT_BYTES of weights.
    """
    try:
        model = onnx.load(file)
    except DecodeError as error:
        raise LoweringError(f"{file}", f"it is not an ONNX model: {error}") from error
    except onnx.checker.ValidationError as error:
        raise LoweringError(f"{file}", f"put the files of its external weights into its folder: {error}") from error
    except OSError as error:
        raise LoweringError(f"{file}", f"it cannot be read: {error}") from error
    widen(model)
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if size > MAX_WEIGHT_BYTES:
        raise LoweringError(
            f"{file}", f"its weights have {size} bytes, more than {MAX_WEIGHT_BYTES}: split the model into parts"
        )
    if not model.graph.output:
        raise LoweringError(f"{file}", "it has no outputs: export the model with its outputs")
    return model


def is_float_model(data: bytes) -> bool:
    """Return whether a file is an ONNX model with inputs, outputs or weights of floats, which no exact program has."""
    model = onnx.ModelProto()
    try:
        check_encoding(data)
        model.ParseFromString(data)
    except (DecodeError, NotExactError):
        return False
    types = [tensor.data_type for tensor in model.graph.initializer]
    types += [info.type.tensor_type.elem_type for info in (*model.graph.input, *model.graph.output)]
    return any(item in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16) for item in types)


def inputs_of(model: onnx.ModelProto) -> list[FloatInput]:
    """Return the inputs that have to be fed, in order. Errors: LoweringError for a shape that is not static."""
    weights = {tensor.name for tensor in model.graph.initializer}
    readers = {name: node for node in reversed(model.graph.node) for name in node.input}
    inputs = []
    for info in model.graph.input:
        if info.name not in weights:
            dtype = helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            description = f"input {info.name!r}"
            if info.name in readers:
                description += f" of {node_description(readers[info.name])}"
            inputs.append(FloatInput(info.name, dtype, static_shape(info, description), description))
    return inputs


def batches(inputs: Sequence[FloatInput], arrays: Mapping[str, Array]) -> list[dict[str, Array]]:
    """Cut arrays of several batches, stacked along the first axis, into one feed for each batch.

    The first axis of an array must be a multiple of its input's; for an input without dimensions it counts the batches.
    An array of one batch, such as an adapter's weight, is part of every feed. Errors: FeedError that names the array
    and the shape or dtype that it should have.
    """
    unknown = sorted(set(arrays) - {item.name for item in inputs})
    if unknown:
        names = ", ".join(item.name for item in inputs) or "none"
        raise FeedError(f"array {unknown[0]!r} is not an input of the model: its inputs are {names}")
    stacks = {item.name: _stack(item, arrays.get(item.name)) for item in inputs}
    count = max((len(stack) for stack in stacks.values()), default=1)
    for name, stack in stacks.items():
        if len(stack) not in (1, count):
            raise FeedError(f"array {name!r} has {len(stack)} batches: it must have {count}, as others have, or one")
    # onnxruntime does not take the NumPy scalar that indexing makes of an input without dimensions.
    return [
        {name: np.asarray(stack[at if len(stack) > 1 else 0]) for name, stack in stacks.items()} for at in range(count)
    ]


def _stack(item: FloatInput, array: Array | None) -> Array:
    """Return an input's batches along a new first axis."""
    if array is None:
        raise FeedError(f"the array for input {item.name!r} is missing")
    both_integers = array.dtype.kind in "ui" and item.dtype.kind in "ui"
    if not both_integers and not np.can_cast(array.dtype, item.dtype, "same_kind"):
        raise FeedError(f"array {item.name!r} has dtype {array.dtype}: the model takes {item.dtype}")
    if array.shape == item.shape:
        return array.astype(item.dtype)[None]
    if not item.shape and array.ndim == 1 and len(array):
        return array.astype(item.dtype)
    first = item.shape[0] if item.shape else 1
    if array.ndim != len(item.shape) or array.shape[1:] != item.shape[1:] or not len(array) or len(array) % first:
        raise FeedError(
            f"array {item.name!r} has shape {list(array.shape)}: it must be {list(item.shape)}, or batches of that "
            "shape stacked along the first axis"
        )
    return array.astype(item.dtype).reshape(-1, *item.shape)
