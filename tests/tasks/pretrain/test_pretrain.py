"""The kind `pretrain`: building a task, packing weights, and scores that no submission can inflate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.tasks.pretrain.conftest import BATCH, CONTEXT, HOLDOUT, PRACTICE, BuiltText, options
from verifier.artifacts import tensors
from verifier.cli.solver import steps_of
from verifier.exact import Engine
from verifier.tasks import EvaluationLimits, find_kind, score
from verifier.tasks.errors import BuildError, PackError
from verifier.tasks.kinds.pretrain.build import build
from verifier.tasks.kinds.pretrain.options import PretrainTraining
from verifier.tasks.kinds.pretrain.pack import pack
from verifier.tasks.kinds.pretrain.program import TEXT
from verifier.tasks.kinds.pretrain.train import train
from verifier.tasks.models.language_models import ByteModel

UNIFORM = 363_409  # units of 2^-16 nat that a byte costs when all 256 are equally likely: 65,536 · ln 256
LIMITS = EvaluationLimits(threads=1, memory_bytes=1 << 32)


def model_of(built: BuiltText, seed: int) -> ByteModel:
    chosen = built.options
    torch.manual_seed(seed)
    return ByteModel(
        chosen.architecture.value, layers=chosen.layers, width=chosen.width, heads=chosen.heads, context=chosen.context
    ).eval()


def save_weights(model: ByteModel, folder: Path) -> Path:
    """Save a model as a solver's own trainer would: under transformers' names."""
    folder.mkdir()
    save_file({name: p.detach().numpy() for name, p in model.model.named_parameters()}, folder / "model.safetensors")
    return folder


def log_likelihood(model: ByteModel, rows: np.ndarray[Any, Any]) -> float:
    """The sum of log-likelihoods in nat, in double precision by torch."""
    text = torch.from_numpy(rows.astype(np.int64))
    with torch.no_grad():
        nats = torch.log_softmax(model.double()(text), dim=2).gather(2, text.unsqueeze(2))
    return float(nats.sum())


def practice_rows(built: BuiltText) -> np.ndarray[Any, Any]:
    schema = built.manifest.set_schema(PRACTICE)
    return tensors.decode(schema, (built.folder / "practice.tensors").read_bytes())[TEXT]


def score_of(built: BuiltText, data: bytes, tmp_path: Path) -> int:
    file = tmp_path / "submission.tensors"
    file.write_bytes(data)
    program, practice = built.folder / "program.onnx", built.folder / "practice.tensors"
    found = score(
        built.manifest, file, program, practice, sealed=False, limits=LIMITS, on_batch=lambda done, total: None
    )
    return found.score


def test_build__small_text__figures_are_those_of_the_files(built: BuiltText) -> None:
    summary = built.summary
    assert summary["counts"]["practice"] == PRACTICE
    assert summary["counts"]["holdout"] == HOLDOUT
    assert summary["difference_from_float"] < 1e-4
    scores = summary["scores"]
    assert scores["all weights zero"] == {"score": -HOLDOUT * CONTEXT * UNIFORM, "bits_per_byte": 8.0}
    assert scores["reference"]["score"] > scores["earlier reference"]["score"] > scores["all weights zero"]["score"]
    assert summary["proposal"]["threshold"] > summary["proposal"]["baseline"] == scores["reference"]["score"]


def test_build__every_set__has_documents_of_its_own(built: BuiltText) -> None:
    left = (built.folder / "train.txt").read_bytes()
    schema = built.manifest.set_schema(HOLDOUT)
    held_out = tensors.decode(schema, (built.folder / "holdout.tensors").read_bytes())[TEXT]
    rows = [*held_out[:HOLDOUT], *practice_rows(built)[:PRACTICE]]
    assert [row for row in rows if row.astype(np.uint8).tobytes() in left] == []
    assert (held_out[HOLDOUT:] == -1).all()


def test_score__weights_of_another_training__is_that_of_torch_in_double_precision(
    built: BuiltText, tmp_path: Path
) -> None:
    model = model_of(built, seed=11)
    packed = pack(save_weights(model, tmp_path / "weights"), built.manifest)
    expected = log_likelihood(model, practice_rows(built)[:PRACTICE])
    assert score_of(built, packed.data, tmp_path) / 2**16 == pytest.approx(expected, rel=2e-4)


def test_train__example_trainer__its_weights_pack_and_score_in_words(
    built: BuiltText, text: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trained"
    said = train(built.manifest, PretrainTraining(data=text, minutes=0.02), out)
    assert said.endswith(f"weights in {out}")
    found = score_of(built, pack(out, built.manifest).data, tmp_path)
    bits = -found / 2**16 / np.log(2) / (PRACTICE * CONTEXT)
    described = find_kind("pretrain").describe(found, PRACTICE, built.manifest)
    assert described == f"{bits:.4f} bits per byte over {PRACTICE} rows of {CONTEXT} bytes"


def test_next_steps__trainer_without_a_base__name_the_options_that_it_has(built: BuiltText) -> None:
    manifest = built.folder / "manifest.json"
    steps = steps_of(built.manifest, built.folder)
    assert steps[0] == f"python -m scripts.train --task {manifest} --data ROWS --out adapter/"


def test_score_range__bytes_of_the_set__is_the_best_of_fixed_likelihoods(built: BuiltText) -> None:
    score_range = find_kind("pretrain").score_range
    assert score_range is not None
    text = np.array([[0, 0, 0, 1], [0, 1, 0, 0], [-1, -1, -1, -1]], np.int16)
    nats = 6 * np.log(0.75) + 2 * np.log(0.25)
    assert score_range({"text": text}, 2, built.manifest) == (int(np.floor(nats * 2**16)), 0)
    rows = practice_rows(built)
    trivial, largest = score_range({"text": rows}, PRACTICE, built.manifest)
    assert -PRACTICE * CONTEXT * UNIFORM < trivial < largest == 0


def extreme(built: BuiltText, seed: int) -> dict[str, np.ndarray[Any, Any]]:
    """A submission of the largest and smallest integers, at random."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.choice([-(2**15), 2**15 - 1], spec.shape).astype(spec.dtype)
        for spec in built.manifest.submission_schema
    }


@pytest.mark.parametrize("seed", range(8))
def test_program__extreme_weights__a_later_byte_changes_no_earlier_prediction(built: BuiltText, seed: int) -> None:
    engine, submission = Engine(built.program), extreme(built, seed)
    rng = np.random.default_rng(seed)
    text = rng.integers(0, 256, (BATCH, CONTEXT)).astype(np.int16)
    changed = text.copy()
    place = int(rng.integers(1, CONTEXT))
    changed[:, place:] = rng.integers(0, 256, (BATCH, CONTEXT - place))
    first, second = (engine.run({TEXT: rows, **submission})["bytes"] for rows in (text, changed))
    np.testing.assert_array_equal(first[:, :place], second[:, :place])


@pytest.mark.parametrize("seed", range(3))
def test_program__extreme_weights__another_row_changes_nothing(built: BuiltText, seed: int) -> None:
    engine, submission = Engine(built.program), extreme(built, seed)
    text = np.random.default_rng(seed).integers(0, 256, (BATCH, CONTEXT)).astype(np.int16)
    changed = np.vstack([text[:1], text[::-1][1:]])
    first, second = (engine.run({TEXT: rows, **submission})["bytes"] for rows in (text, changed))
    np.testing.assert_array_equal(first[0], second[0])


def test_program__any_weights__no_prediction_has_a_likelihood_above_one(built: BuiltText) -> None:
    lower, upper = built.program.interval("score")
    assert upper == 0
    assert lower < 0
    assert built.manifest.metric.bound == -lower * -(-HOLDOUT // BATCH)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda found: found | {"extra": np.zeros(3, np.float32)}, "extra: the task has no such tensor"),
        (lambda found: dict(list(found.items())[1:]), "the adapter does not have it"),
        (lambda found: {name: array * np.nan for name, array in found.items()}, "NaN or infinite"),
        (lambda found: {name: array + 1e3 for name, array in found.items()}, "the task's grid holds"),
        (lambda found: {name: array[None] for name, array in found.items()}, "the task needs"),
    ],
    ids=["extra tensor", "missing tensor", "not a number", "beyond the grid", "another shape"],
)
def test_pack__weights_that_do_not_fit__are_refused_by_name(
    built: BuiltText, tmp_path: Path, spoil: Any, problem: str
) -> None:
    file = save_weights(model_of(built, seed=1), tmp_path / "weights") / "model.safetensors"
    save_file(spoil(load_file(file)), file)
    with pytest.raises(PackError, match=problem):
        pack(file, built.manifest)


def test_build__too_few_documents__says_what_to_do(text: Path, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"give more text, name the line .*--separator"):
        build(options(text, holdout=10_000), tmp_path / "task")
    assert not (tmp_path / "task").exists()


def test_build__one_file_with_a_separator__is_cut_into_documents(tmp_path: Path) -> None:
    file = tmp_path / "all.txt"
    scenes = [f"SCENE\n{number} " + "word " * 60 for number in range(12)]
    file.write_text("\n".join(scenes), "utf-8")
    chosen = options(file, separator="SCENE", holdout=8, practice=8)
    assert build(chosen, tmp_path / "task")["counts"] == {"practice": 8, "holdout": 8, "train": 10}


def test_options__width_that_heads_do_not_divide__is_refused(text: Path) -> None:
    with pytest.raises(ValueError, match="cannot be divided into 3 heads"):
        options(text, heads=3)


def test_manifest__settings__name_the_model(built: BuiltText) -> None:
    settings = json.loads((built.folder / "manifest.json").read_bytes())["settings"]
    assert settings == {
        "architecture": built.options.architecture.value,
        "layers": 1,
        "width": 16,
        "heads": 2,
        "context": CONTEXT,
    }
