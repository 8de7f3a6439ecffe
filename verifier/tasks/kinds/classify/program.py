"""The exact evaluation program of a `classify` task: calibrated, lowered, and compared with the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]
import torch
from numpy.typing import NDArray
from peft import PeftModel

from verifier.exact import Engine, Program
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.exact.runtime.session import PROVIDER
from verifier.tasks.metrics import accuracy
from verifier.tasks.models.adapters import sample_adapter, trained_tensors
from verifier.tasks.models.export import ExportedModel, export

# Factor by which the calibrated range of an activation is widened, because a submission's tensors may drive it further
# than the random adapters of the calibration do.
HEADROOM = 4.0
# Names of the exported outputs, which no module of a model has.
_OUTPUTS = ("exported.logits", "exported.embedding")
_TEXT_INPUTS = ("input_ids", "attention_mask")
# Seed of the adapter that the two programs are compared with: calibration uses small seeds only.
_COMPARISON_SEED = 1_000_003

Feeds = Mapping[str, NDArray[Any]]


def export_classifier(model: PeftModel, batch: int, sequence: int) -> ExportedModel:
    """Export the adapted classifier for `batch` rows of `sequence` tokens. Errors: BuildError."""
    ids = torch.zeros((batch, sequence), dtype=torch.long)
    mask = torch.ones((batch, sequence), dtype=torch.long)
    return export(model, dict(zip(_TEXT_INPUTS, (ids, mask), strict=True)), _OUTPUTS, trained_tensors(model))


def evaluation_program(
    exported: ExportedModel,
    examples: Feeds,
    batch: int,
    vocabulary: int,
    on_batch: Callable[[], None] = lambda: None,
) -> bytes:
    """Lower the float model and add the metric: outputs `score` (correct rows) and `logits` [batch, classes].

    `examples` are encoded rows for calibration, whole batches; each batch runs with a random adapter of another
    strength, and `on_batch` is called after each. `vocabulary` bounds the token ids. Errors: LoweringError.
    """
    feeds: list[Feeds] = [
        {**texts, **sample_adapter(exported.submission, number % 3, number)}
        for number, texts in enumerate(_batches(examples, batch))
    ]
    inputs = {spec.name: InputSpec(spec.dtype, spec.grid) for spec in exported.submission}
    inputs["input_ids"] = InputSpec(examples["input_ids"].dtype.name, lo=0, hi=vocabulary - 1)
    inputs["attention_mask"] = InputSpec("int8", lo=0, hi=1)
    lowered = lower_graph(exported.graph, feeds, inputs, HEADROOM, on_batch)
    label = lowered.builder.input("label", "int16", (batch,))
    logits = lowered.outputs[_OUTPUTS[0]]
    score = accuracy(lowered.builder, logits, label)
    model = lowered.builder.model({"score": score, "logits": logits})
    data: bytes = model.SerializeToString()
    return data


def agreement(exported: ExportedModel, program: Program, examples: Feeds, batch: int) -> float:
    """Return the share of rows to which the exact program gives the class that the float model gives.

    `examples` are encoded rows, whole batches, which calibration has not seen.
    """
    adapter = sample_adapter(exported.submission, 1.0, _COMPARISON_SEED)
    packed = {
        spec.name: np.clip(np.rint(np.ldexp(adapter[spec.name], -spec.grid)), -(2**15), 2**15 - 1).astype(spec.dtype)
        for spec in exported.submission
    }
    taken = {item.name: item for item in program.inputs}
    label = np.zeros(taken["label"].shape, taken["label"].dtype)
    session = ort.InferenceSession(exported.graph.SerializeToString(), providers=[PROVIDER])
    engine = Engine(program)
    same = []
    for texts in _batches(examples, batch):
        (logits,) = session.run([_OUTPUTS[0]], {**texts, **adapter})
        integers = {name: array.astype(taken[name].dtype) for name, array in texts.items()}
        found = engine.run({**packed, **integers, "label": label})["logits"]
        same.append(found.argmax(axis=1) == logits.argmax(axis=1))
    return float(np.mean(same))


def _batches(examples: Feeds, batch: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The texts of encoded rows, batch by batch, in the dtype that the float model takes."""
    for start in range(0, len(examples["input_ids"]), batch):
        yield {name: examples[name][start : start + batch].astype(np.int64) for name in _TEXT_INPUTS}
