"""The exact evaluation program of a LoRA task: exported by torch, calibrated, lowered, and given its metric."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from peft import PeftModel
from torch import Tensor, nn

from verifier.artifacts.tensors import TensorSpec
from verifier.exact import Engine, Program
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.exact.runtime.session import PROVIDER
from verifier.tasks.errors import BuildError
from verifier.tasks.metrics import accuracy

# Submissions' tensors are int16. Balanced by `pack`, A and B of a trained adapter stay well below 1; a head's entries
# are larger and few.
ADAPTER_GRID = -15
HEAD_GRID = -12
# A submission's tensors may drive activations further than calibration saw.
HEADROOM = 4.0
_EXPORTED = ("exported.logits", "exported.embedding")  # names that no module of a model has

Feeds = Mapping[str, NDArray[Any]]


# An adapter that calibration has not seen, to compare the two programs with.
_UNSEEN_SEED = 1_000_003


@dataclass(frozen=True)
class FloatProgram:
    """The model in float32 as an ONNX graph, its adapter among the inputs under the submission's names."""

    model: onnx.ModelProto
    adapter: tuple[TensorSpec, ...]  # the submission's tensors
    batch: int
    sequence: int


class _Functional(nn.Module):
    """The adapted model as a function of its inputs and of the adapter's tensors."""

    def __init__(self, model: PeftModel, names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, input_ids: Tensor, attention_mask: Tensor, *adapter: Tensor) -> Any:
        replaced = dict(zip(self.names, adapter, strict=True))
        return torch.func.functional_call(self.model, replaced, (input_ids, attention_mask))


def submission_name(parameter: str) -> str:
    """A parameter of the adapted model as submissions name it: where its layer is in the encoder, and which it is."""
    return (
        parameter.removeprefix("base_model.model.")
        .removeprefix("encoder.")
        .replace(".modules_to_save.default", "")
        .replace(".lora_A.default.weight", ".lora_A")
        .replace(".lora_B.default.weight", ".lora_B")
    )


def export(model: PeftModel, batch: int, sequence: int) -> FloatProgram:
    """Export for one batch of `batch` rows of `sequence` tokens. The adapter's scaling has to be 1: `pack` applies it.

    Errors: BuildError when torch cannot export the model.
    """
    model.eval()
    trained = {name: p for name, p in model.named_parameters() if "lora_" in name or ".modules_to_save." in name}
    names = [submission_name(name) for name in trained]
    ids = torch.zeros((batch, sequence), dtype=torch.long)
    mask = torch.ones((batch, sequence), dtype=torch.long)
    example = (ids, mask, *(p.detach().clone() for p in trained.values()))
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            exported = torch.onnx.export(
                _Functional(model, list(trained)).eval(),
                example,
                dynamo=True,
                opset_version=18,
                input_names=["input_ids", "attention_mask", *names],
                output_names=list(_EXPORTED),
                verbose=False,
            )
        except Exception as error:  # torch.export raises many kinds
            raise BuildError(f"torch cannot export this model: {str(error).splitlines()[0]}") from error
    assert exported is not None
    adapter = tuple(
        TensorSpec(name, "int16", tuple(p.shape), ADAPTER_GRID if ".lora_" in name else HEAD_GRID)
        for name, p in zip(names, trained.values(), strict=True)
    )
    return FloatProgram(exported.model_proto, adapter, batch, sequence)


def sample_adapter(adapter: Sequence[TensorSpec], strength: float, seed: int) -> dict[str, NDArray[np.float32]]:
    """A random adapter of the kind that training finds, to calibrate with; `strength` scales B."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for spec in adapter:
        if spec.name.endswith(".lora_A"):
            bound = 1.0 / np.sqrt(spec.shape[1])  # where PEFT starts
            tensors[spec.name] = rng.uniform(-bound, bound, spec.shape)
        elif spec.name.endswith(".lora_B"):
            tensors[spec.name] = rng.normal(0.0, 0.02 * strength, spec.shape)
        else:
            tensors[spec.name] = rng.normal(0.0, 0.1, spec.shape)
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def evaluation_program(
    program: FloatProgram,
    vocabulary: int,
    ids_dtype: str,
    examples: Feeds,
    on_step: Callable[[], None] = lambda: None,
) -> bytes:
    """Lower the float program and add the metric: outputs `score` (correct rows) and `logits`.

    `examples` [rows, sequence] are encoded rows to calibrate with, whole batches, each run with an adapter of another
    strength; `on_step` is called after each. Errors: LoweringError.
    """
    feeds: list[Feeds] = [
        {**texts, **sample_adapter(program.adapter, number % 3, number)}
        for number, texts in enumerate(_batches(program, examples))
    ]
    inputs = {spec.name: InputSpec(spec.dtype, spec.grid) for spec in program.adapter}
    inputs["input_ids"] = InputSpec(ids_dtype, lo=0, hi=vocabulary - 1)
    inputs["attention_mask"] = InputSpec("int8", lo=0, hi=1)
    lowered = lower_graph(program.model, feeds, inputs, HEADROOM, on_step)
    label = lowered.builder.input("label", "int16", (program.batch,))
    logits = lowered.outputs[_EXPORTED[0]]
    score = accuracy(lowered.builder, logits, label)
    model = lowered.builder.model({"score": score, "logits": logits})
    data: bytes = model.SerializeToString()
    return data


def agreement(floats: FloatProgram, exact: Program, examples: Feeds) -> float:
    """The share of rows, whole batches of encoded ones, that the exact program gives the float program's class."""
    adapter = sample_adapter(floats.adapter, 1.0, _UNSEEN_SEED)
    packed = {
        spec.name: np.clip(np.rint(np.ldexp(adapter[spec.name], -spec.grid)), -(2**15), 2**15 - 1).astype(spec.dtype)
        for spec in floats.adapter
    }
    taken = {item.name: item for item in exact.inputs}
    label = np.zeros(taken["label"].shape, taken["label"].dtype)
    session = ort.InferenceSession(floats.model.SerializeToString(), providers=[PROVIDER])
    engine = Engine(exact)
    same = []
    for texts in _batches(floats, examples):
        (logits,) = session.run([_EXPORTED[0]], {**texts, **adapter})
        integers = {name: array.astype(taken[name].dtype) for name, array in texts.items()}
        found = engine.run({**packed, **integers, "label": label})["logits"]
        same.append(found.argmax(axis=1) == logits.argmax(axis=1))
    return float(np.mean(same))


def _batches(program: FloatProgram, examples: Feeds) -> Iterator[dict[str, NDArray[Any]]]:
    """The texts of encoded rows, batch by batch, as the float program takes them."""
    for start in range(0, len(examples["input_ids"]), program.batch):
        yield {
            name: examples[name][start : start + program.batch].astype(np.int64)
            for name in ("input_ids", "attention_mask")
        }
