"""The kind `language`: building a task, packing adapters, and scores that no submission can inflate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.train import main as train_command
from tests.tasks.language.conftest import BATCH, HOLDOUT, PRACTICE, RANK, SEQUENCE, BuiltLanguage
from verifier.artifacts import tensors
from verifier.cli.main import cli
from verifier.exact import Engine
from verifier.tasks import EvaluationLimits, find_kind, load_manifest, score
from verifier.tasks.kinds.language.pack import pack
from verifier.tasks.models.adapters import with_adapter
from verifier.tasks.models.decoder import load_language_model
from verifier.tasks.text.answers import PLACES, TOKENS

LIMITS = EvaluationLimits(threads=1, memory_bytes=1 << 32)
ALPHA = 3

Arrays = dict[str, np.ndarray[Any, Any]]


def random_adapter(model: PeftModel) -> PeftModel:
    torch.manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.normal_(0.0, 0.2)
    return model.eval()


def causal_lm(built: BuiltLanguage, **more: Any) -> PeftModel:
    """Transformers' own model with a random adapter, as a solver's own trainer would have it."""
    model = AutoModelForCausalLM.from_pretrained(built.options.base, dtype=torch.float32)
    settings = {"r": RANK, "lora_alpha": ALPHA, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | more
    if built.options.base.name == "gpt2":
        settings["fan_in_fan_out"] = True
    return random_adapter(get_peft_model(model, LoraConfig(**settings)))


def saved(model: PeftModel, folder: Path) -> Path:
    model.save_pretrained(str(folder))
    return folder


def set_of(built: BuiltLanguage, name: str, count: int) -> Arrays:
    return tensors.decode(built.manifest.set_schema(count), (built.folder / f"{name}.tensors").read_bytes())


def score_of(built: BuiltLanguage, data: bytes, tmp_path: Path) -> int:
    file = tmp_path / "submission.tensors"
    file.write_bytes(data)
    program, practice = built.folder / "program.onnx", built.folder / "practice.tensors"
    found = score(
        built.manifest, file, program, practice, sealed=False, limits=LIMITS, on_batch=lambda done, total: None
    )
    return found.score


def test_build__small_data_set__figures_are_those_of_the_files(built: BuiltLanguage) -> None:
    summary = built.summary
    train = (built.folder / "train.jsonl").read_text("utf-8").splitlines()
    left_out = summary["left_out"]["too_long"]
    assert summary["counts"] == {"practice": PRACTICE, "holdout": HOLDOUT, "train": len(train)}
    assert left_out > 0
    assert PRACTICE + HOLDOUT + len(train) + left_out == 120
    assert summary["difference_from_float"] < 2e-4
    scores = {name: found["score"] for name, found in summary["scores"].items()}
    assert scores["reference"] > scores["earlier reference"] > scores["no adapter"]
    proposal, noise = summary["proposal"], summary["noise"]
    assert proposal["baseline"] == max(scores["no adapter"], scores["tiny random adapter"])
    assert proposal["gain"] == pytest.approx(2 * noise["error_of_an_increment"], abs=1)
    assert proposal["threshold"] == pytest.approx(
        proposal["baseline"] + 2 * noise["error_of_a_difference_from_the_base"], abs=1
    )
    assert 0 < noise["error_of_an_increment"] < noise["error_of_a_score"]
    assert (noise["groups"], noise["by_prompt"]) == (HOLDOUT, False)


def test_build__rows_of_a_set__count_the_tokens_of_answers_and_their_end(built: BuiltLanguage) -> None:
    tokenizer = AutoTokenizer.from_pretrained(built.options.base)
    lines = map(json.loads, built.options.dataset.read_text("utf-8").splitlines())
    texts = {f"{line['prompt']} {line['answer']}": line for line in lines}
    train = {json.loads(line)["prompt"] for line in (built.folder / "train.jsonl").read_text("utf-8").splitlines()}
    arrays = set_of(built, "holdout", HOLDOUT)
    for tokens, places in zip(arrays[TOKENS][:HOLDOUT], arrays[PLACES][:HOLDOUT], strict=True):
        own = places[places > 0]
        assert (np.diff(own) == 1).all()
        row = tokens[: own[-1] + 1]
        line = texts[tokenizer.decode(row, skip_special_tokens=True).strip()]
        assert line["prompt"] not in train
        assert tokenizer.decode(tokens[own[:-1]]).strip() == line["answer"]
        assert tokens[own[-1]] == tokenizer.eos_token_id
        assert (tokens[0] == tokenizer.bos_token_id) == (built.options.base.name == "llama")
    assert not arrays[TOKENS][HOLDOUT:].any()
    assert not arrays[PLACES][HOLDOUT:].any()


def test_score__adapter_of_transformers__is_that_of_torch_in_double_precision(
    built: BuiltLanguage, tmp_path: Path
) -> None:
    model = causal_lm(built)
    found = score_of(built, pack(saved(model, tmp_path / "adapter"), built.manifest).data, tmp_path)
    arrays = set_of(built, "practice", PRACTICE)
    expected = 0.0
    for tokens, places in zip(arrays[TOKENS][:PRACTICE], arrays[PLACES][:PRACTICE], strict=True):
        own = torch.from_numpy(places[places > 0].astype(np.int64))
        row = torch.from_numpy(tokens[: own[-1] + 1].astype(np.int64))  # without padding
        with torch.no_grad():
            logits = model.double()(input_ids=row.unsqueeze(0)).logits[0]
        nats = torch.log_softmax(logits, dim=1)
        expected += float(nats[own - 1, row[own]].sum())
    assert found / 2**16 == pytest.approx(expected, rel=1e-3)
    described = find_kind("language").describe(found, PRACTICE, built.manifest)
    assert described == f"log-likelihood of {found / 2**16 / PRACTICE:.4f} nat per answer over {PRACTICE} answers"


def test_pack__adapter_of_the_tasks_decoder__is_the_same_as_that_of_transformers(
    built: BuiltLanguage, tmp_path: Path
) -> None:
    expected = pack(saved(causal_lm(built), tmp_path / "adapter"), built.manifest)
    decoder = with_adapter(
        load_language_model(built.options.base), ["all-linear"], RANK, ALPHA, part="decoder", head=None
    )
    weights = causal_lm(built).state_dict()
    own = {name.replace("model.decoder.", "model.", 1): name for name in decoder.state_dict() if "lora_" in name}
    assert len(own) == len(built.manifest.submission_schema)
    decoder.load_state_dict({own[name]: weights[name] for name in own}, strict=False)
    assert pack(saved(decoder, tmp_path / "own"), built.manifest).data == expected.data


def extreme(built: BuiltLanguage, seed: int) -> Arrays:
    """A submission of the largest and smallest integers, at random."""
    rng = np.random.default_rng(seed)
    return {
        spec.name: rng.choice([-(2**15), 2**15 - 1], spec.shape).astype(spec.dtype)
        for spec in built.manifest.submission_schema
    }


def batch_of(built: BuiltLanguage) -> Arrays:
    """The first batch of the practice set."""
    return {name: array[:BATCH] for name, array in set_of(built, "practice", PRACTICE).items()}


def answers_of(engine: Engine, submission: Arrays, batch: Arrays) -> np.ndarray[Any, Any]:
    return engine.run({**submission, **batch})["answers"]


@pytest.mark.parametrize("seed", range(4))
def test_program__extreme_adapter__a_later_token_changes_no_earlier_prediction(built: BuiltLanguage, seed: int) -> None:
    engine, submission, batch = Engine(built.program), extreme(built, seed), batch_of(built)
    rng = np.random.default_rng(seed)
    before = answers_of(engine, submission, batch)
    place = int(rng.integers(2, SEQUENCE))
    changed = batch[TOKENS].copy()
    changed[:, place:] = rng.integers(0, 20, (BATCH, SEQUENCE - place))
    after = answers_of(engine, submission, batch | {TOKENS: changed})
    earlier = batch[PLACES] < place
    np.testing.assert_array_equal(before[earlier], after[earlier])


@pytest.mark.parametrize("seed", range(4))
def test_program__extreme_adapter__tokens_behind_a_row_change_nothing(built: BuiltLanguage, seed: int) -> None:
    engine, submission, batch = Engine(built.program), extreme(built, seed), batch_of(built)
    changed = batch[TOKENS].copy()
    behind = np.arange(SEQUENCE) > batch[PLACES].max(axis=1, keepdims=True)
    assert behind.any()
    changed[behind] = np.random.default_rng(seed).integers(0, 20, behind.sum())
    np.testing.assert_array_equal(
        answers_of(engine, submission, batch), answers_of(engine, submission, batch | {TOKENS: changed})
    )


@pytest.mark.parametrize("seed", range(3))
def test_program__extreme_adapter__another_row_changes_nothing(built: BuiltLanguage, seed: int) -> None:
    engine, submission, batch = Engine(built.program), extreme(built, seed), batch_of(built)
    changed = {name: np.vstack([array[:1], array[::-1][1:]]) for name, array in batch.items()}
    assert (changed[TOKENS][1:] != batch[TOKENS][1:]).any()
    first, second = answers_of(engine, submission, batch), answers_of(engine, submission, changed)
    np.testing.assert_array_equal(first[0], second[0])


def test_program__rows_of_padding__score_nothing(built: BuiltLanguage) -> None:
    engine, submission, batch = Engine(built.program), extreme(built, 1), batch_of(built)
    whole = engine.run({**submission, **batch})
    np.testing.assert_array_equal(whole["score"], [whole["answers"].sum()])
    assert (whole["answers"][batch[PLACES] > 0] < 0).all()
    assert not whole["answers"][batch[PLACES] == 0].any()
    nothing = engine.run({**submission, **batch, PLACES: np.zeros_like(batch[PLACES])})
    assert nothing["score"].tolist() == [0]


@pytest.mark.parametrize(("token", "place"), [(-1, -1), (-(2**15), -(2**15)), (2**15 - 1, 2**15 - 1)])
def test_program__set_with_numbers_out_of_range__is_scored_like_the_nearest_ones(
    built: BuiltLanguage, token: int, place: int
) -> None:
    engine, submission, batch = Engine(built.program), extreme(built, 2), batch_of(built)
    hostile = {TOKENS: np.full_like(batch[TOKENS], token), PLACES: np.full_like(batch[PLACES], place)}
    vocabulary = load_language_model(built.options.base).vocabulary
    nearest = {
        TOKENS: np.clip(hostile[TOKENS], 0, vocabulary - 1),
        PLACES: np.clip(hostile[PLACES], 0, SEQUENCE - 1),
    }
    np.testing.assert_array_equal(answers_of(engine, submission, hostile), answers_of(engine, submission, nearest))


def test_program__any_adapter__no_answer_has_a_likelihood_above_one(built: BuiltLanguage) -> None:
    lower, upper = built.program.interval("score")
    assert upper == 0
    assert built.manifest.metric.bound == -lower * -(-HOLDOUT // BATCH)


def test_manifest__settings_and_base__say_what_a_solver_trains(built: BuiltLanguage) -> None:
    manifest = json.loads((built.folder / "manifest.json").read_bytes())
    assert manifest["settings"] == {
        "rank": RANK,
        "alpha": 2 * RANK,
        "targets": ["all-linear"],
        "sequence": SEQUENCE,
        "answers": built.summary["answers"],
    }
    assert [file["name"] for file in manifest["base"]["files"]] == ["model.safetensors", "tokenizer.json"]
    assert {spec.shape[0] for spec in built.manifest.submission_schema if spec.name.endswith("lora_A")} == {RANK}
    assert not [spec.name for spec in built.manifest.submission_schema if "lm_head" in spec.name]


def run(command: Any, *arguments: str | Path) -> str:
    result = CliRunner(mix_stderr=False).invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.exception
    return result.stdout


def test_commands__from_the_data_set_to_a_score__trained_adapter_beats_the_base(
    bases: dict[str, Path], dataset: Path, tmp_path: Path
) -> None:
    task, base = tmp_path / "task", bases["llama"]
    sizes = ("--practice", 24, "--holdout", 6, "--batch", 2, "--sequence", 16, "--rank", 4, "--reference-steps", 1)
    where = ("--publish-train", "--url", "https://files.example", "--out", task)
    run(cli, "task", "build", "language", "--base", base, "--dataset", dataset, *map(str, sizes), *where)
    manifest, adapter = task / "manifest.json", tmp_path / "adapter"
    said = run(
        train_command, "--task", manifest, "--base", base, "--data", task / "train.jsonl", "--epochs", "8",
        "--out", adapter,
    )  # fmt: skip
    assert said.endswith(f"adapter in {adapter}\n")
    found = []
    for name in ("trained", "none"):
        submission = tmp_path / f"{name}.tensors"
        if name == "trained":
            run(cli, "pack", adapter, "--task", manifest, "--out", submission)
        else:
            schema = load_manifest(manifest).submission_schema
            submission.write_bytes(tensors.encode(schema, {s.name: np.zeros(s.shape, s.dtype) for s in schema}))
        found.append(json.loads(run(cli, "score", "--task", manifest, "--submission", submission)))
    assert found[0]["score"] > found[1]["score"]
    assert found[0]["reads"] == f"log-likelihood of {found[0]['score'] / 2**16 / 24:.4f} nat per answer over 24 answers"
