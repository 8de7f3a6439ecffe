"""`touchstone task build classify`: the files that it writes, and the models, data sets and options that it refuses."""

from __future__ import annotations

import json
import stat
from itertools import permutations
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from tests.tasks.conftest import BATCH, HOLDOUT, PRACTICE, RANK, BuiltTask
from tests.tasks.tiny import BAD, GOOD, NEUTRAL
from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.errors import TargetExistsError
from verifier.artifacts.fetch import artifact_uri
from verifier.cli.main import cli
from verifier.cli.model_options import read_options
from verifier.exact import load_program
from verifier.tasks.errors import BuildError
from verifier.tasks.judge import check_program
from verifier.tasks.kinds.classify.build import CALIBRATION_BATCHES, build
from verifier.tasks.kinds.classify.options import ClassifyOptions
from verifier.tasks.sets import Split
from verifier.tasks.text.rows import Row, encode_rows, read_rows

DISAGREES = (
    r"^the exact program gives only \d\d\.\d% of 32 texts the class that the float model gives; "
    r"at least 95% are needed: report the model, or build from another one$"
)


def test_build__sealed_task__writes_its_files_and_names_the_public_ones(task: BuiltTask) -> None:
    assert sorted(path.name for path in task.folder.iterdir()) == [
        "holdout.json",
        "holdout.key",
        "holdout.sealed",
        "holdout.tensors",
        "manifest.json",
        "practice.tensors",
        "program.onnx",
        "train.tsv",
    ]
    assert [Path(file).name for file in task.summary["publish"]] == [
        "manifest.json",
        "program.onnx",
        "practice.tensors",
        "holdout.sealed",
    ]
    assert task.summary["agreement"] >= 0.95
    assert task.summary["counts"] == {"practice": PRACTICE, "holdout": HOLDOUT, "train": 200 - PRACTICE - HOLDOUT}


def test_build__summary__has_the_errors_of_tensors_and_warns_of_nothing(task: BuiltTask) -> None:
    assert task.summary["warnings"] == []
    lengths = task.summary["longest_row"]
    assert 3 < lengths["calibration"] <= 12
    assert 3 < lengths["evaluated"] <= 12
    for rows in ("calibration", "evaluated"):
        inside = task.summary["inside"][rows]
        assert (inside["batches"], inside["saturated"]) == (2, [])
        assert inside["tensors_in_all"] > 20
        assert inside["tensors"][0]["relative_error"] < 0.01


def test_task_build__holdout_row_far_longer_than_calibration__is_told(options: ClassifyOptions, tmp_path: Path) -> None:
    texts = [" ".join(words) for words in permutations(GOOD + BAD, 2)]
    long = " ".join(NEUTRAL + GOOD[:4] + BAD[:4] + NEUTRAL[:2])
    rows = [Row("good", long), *(Row("bad" if number % 2 else "good", text) for number, text in enumerate(texts))]
    (tmp_path / "data.tsv").write_bytes(encode_rows(rows))
    needed = (PRACTICE, HOLDOUT, CALIBRATION_BATCHES * BATCH)
    seed = next(seed for seed in range(99) if rows[0] in Split.draw(rows, *needed, seed).holdout)
    words = f"--rank 2 --practice {PRACTICE} --holdout {HOLDOUT} --batch {BATCH} --sequence 24 --seed {seed}".split()
    files = [
        "--base",
        options.base,
        "--dataset",
        tmp_path / "data.tsv",
        "--url",
        options.url,
        "--out",
        tmp_path / "task",
    ]
    result = CliRunner(mix_stderr=False).invoke(cli, ["task", "build", "classify", *map(str, files), *words])
    assert result.exit_code == 0, result.exception
    summary = json.loads(result.stdout)
    assert f"warning: {summary['warnings'][0]}" in result.stderr.splitlines()
    assert summary["longest_row"] == {"calibration": 4, "evaluated": 24}
    assert summary["warnings"] == [
        "the longest row of calibration has 4 tokens and the longest evaluated row 24, so tensors can saturate: add "
        "long texts to the data set, or choose another --seed"
    ]


def test_build__manifest__describes_the_files(task: BuiltTask) -> None:
    manifest, folder = task.manifest, task.folder
    for part, digest, name in (
        (manifest.program, manifest.program.digest, "program.onnx"),
        (manifest.practice, manifest.practice.digest, "practice.tensors"),
        (manifest.holdout, manifest.holdout and manifest.holdout.sealed_digest, "holdout.sealed"),
    ):
        assert part is not None
        found = digests.digest_file(folder / name)
        assert digest == digests.to_hex(found)
        assert part.size == (folder / name).stat().st_size
        assert part.uris == (artifact_uri("https://files.example", found),)
    assert task.summary["manifest"] == digests.to_hex(manifest.digest())
    assert manifest.metric.bound == 20  # five batches of four
    assert manifest.settings == {
        "rank": RANK,
        "alpha": 2 * RANK,
        "targets": ("query", "value"),
        "labels": ("bad", "good"),
        "sequence": 12,
        "pooling": "mean",
    }
    weights = digests.to_hex(digests.digest_file(task.options.base / "model.safetensors"))
    assert manifest.base.model == f"model.safetensors {weights}"


def test_build__program__is_proven_and_takes_the_manifests_inputs(task: BuiltTask) -> None:
    program = load_program((task.folder / "program.onnx").read_bytes())
    check_program(program, task.manifest)
    assert program.interval("score") == (0, BATCH)
    assert [output.name for output in program.outputs] == ["score", "logits"]
    assert task.manifest.macs == program.macs * 5


def test_build__submission__has_the_layers_of_the_encoder_and_the_head(task: BuiltTask) -> None:
    layers = [f"encoder.layer.{layer}.attention.self.{target}" for layer in (0, 1) for target in ("query", "value")]
    expected = {f"{layer}.lora_A": (RANK, 32) for layer in layers} | {f"{layer}.lora_B": (32, RANK) for layer in layers}
    expected |= {"classifier.weight": (2, 32), "classifier.bias": (2,)}
    assert {tensor.name: tensor.shape for tensor in task.manifest.submission} == expected
    assert {tensor.dtype for tensor in task.manifest.submission} == {"int16"}


def test_build__program_that_disagrees_with_the_model__writes_nothing(
    options: ClassifyOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verifier.exact.lowering.builder.WEIGHT_BITS", 3)  # far too few to hold the model's weights
    with pytest.raises(BuildError, match=DISAGREES):
        build(options, tmp_path / "task")
    assert not (tmp_path / "task").exists()


def test_build__holdout__opens_with_its_key_and_is_secret(task: BuiltTask) -> None:
    folder, manifest = task.folder, task.manifest
    described = json.loads((folder / "holdout.json").read_text())
    assert described["file"] == "holdout.sealed"
    assert described["key_file"] == "holdout.key"
    for name in ("holdout.key", "holdout.tensors"):
        assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
    key = bytes.fromhex((folder / "holdout.key").read_text().strip()[2:])
    plain = sealing.unseal(key, (folder / "holdout.sealed").read_bytes())
    assert plain == (folder / "holdout.tensors").read_bytes()
    assert described["plain"] == digests.to_hex(digests.digest(plain))
    assert described["sealed"] == digests.to_hex(digests.digest_file(folder / "holdout.sealed"))
    rows = tensors.decode(manifest.set_schema(HOLDOUT), plain)
    assert rows["label"].shape == (20,)
    assert rows["label"][HOLDOUT:].tolist() == [-1, -1]
    assert set(rows["label"][:HOLDOUT].tolist()) == {0, 1}
    assert not rows["attention_mask"][HOLDOUT:].any()


def test_build__sets__share_no_example(task: BuiltTask) -> None:
    manifest, folder = task.manifest, task.folder
    practice = tensors.decode(manifest.set_schema(PRACTICE), (folder / "practice.tensors").read_bytes())
    holdout = tensors.decode(manifest.set_schema(HOLDOUT), (folder / "holdout.tensors").read_bytes())
    practised = {row.tobytes() for row in np.asarray(practice["input_ids"])[:PRACTICE]}
    held = {row.tobytes() for row in np.asarray(holdout["input_ids"])[:HOLDOUT]}
    assert len(practised) == PRACTICE
    assert len(held) == HOLDOUT
    assert not practised & held
    assert len(read_rows(folder / "train.tsv")) == 200 - PRACTICE - HOLDOUT


def test_task_build__no_holdout__makes_a_public_task_and_prints_its_summary(
    options: ClassifyOptions, tmp_path: Path
) -> None:
    arguments = {
        "--base": options.base,
        "--dataset": options.dataset,
        "--targets": "key, dense",
        "--practice": PRACTICE,
        "--holdout": 0,
        "--batch": BATCH,
        "--sequence": 12,
        "--url": "https://files.example",
        "--out": tmp_path / "task",
    }
    words = [str(item) for pair in arguments.items() for item in pair]
    result = CliRunner(mix_stderr=False).invoke(cli, ["task", "build", "classify", *words])
    assert result.exit_code == 0, result.exception
    summary = json.loads(result.stdout)
    manifest = BuiltTask(tmp_path / "task", {}, options).manifest
    assert summary["manifest"] == digests.to_hex(manifest.digest())
    assert summary["counts"] == {"practice": PRACTICE, "holdout": 0, "train": 200 - PRACTICE}
    assert summary["macs"] == manifest.macs
    assert manifest.title == "Classify words"
    assert (manifest.settings["rank"], manifest.settings["alpha"]) == (8, 16)
    assert len(manifest.submission) == 2 * 2 * 4 + 2  # key and three layers called dense, twice, and the head
    assert manifest.holdout is None
    assert manifest.evaluation_count == PRACTICE
    assert manifest.metric.bound == 32
    assert sorted(path.name for path in (tmp_path / "task").iterdir()) == [
        "manifest.json",
        "practice.tensors",
        "program.onnx",
        "train.tsv",
    ]


def test_build__folder_that_exists__is_not_written_into(options: ClassifyOptions, tmp_path: Path) -> None:
    with pytest.raises(TargetExistsError) as refused:
        build(options, tmp_path)
    assert str(refused.value) == f"{tmp_path} exists and is not overwritten: choose another name, or move it away"
    assert list(tmp_path.iterdir()) == []


def test_build__unknown_target__is_named_with_the_known_ones(options: ClassifyOptions, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no linear layer called 'q_proj'; it has dense, key, query, value"):
        build(options.model_copy(update={"targets": ("q_proj",)}), tmp_path / "task")


def test_build__no_target__is_refused(options: ClassifyOptions, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="name at least one linear layer"):
        build(options.model_copy(update={"targets": ()}), tmp_path / "task")


def test_build__too_few_rows__says_how_many_are_needed(options: ClassifyOptions, tmp_path: Path) -> None:
    needed = 150 + HOLDOUT + CALIBRATION_BATCHES * BATCH
    reason = (
        f"the data set has 200 different examples, but the task needs {needed}: "
        "150 for practice, 18 for the holdout and 48 for calibration"
    )
    with pytest.raises(BuildError, match=f"^{reason}$"):
        build(options.model_copy(update={"practice": 150}), tmp_path / "task")
    assert not (tmp_path / "task").exists()


def test_build__more_tokens_than_positions__is_refused(options: ClassifyOptions, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="the model takes at most 24 tokens, not 25"):
        build(options.model_copy(update={"sequence": 25}), tmp_path / "task")


def test_build__folder_without_a_model__is_refused(options: ClassifyOptions, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"is not a model folder: it has no config\.json$"):
        build(options.model_copy(update={"base": tmp_path / "nowhere"}), tmp_path / "task")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"label,text\ngood,fine\n", "line 1: the header must be `label`, a tab, `text`"),
        (b"", "line 1: the header must be `label`, a tab, `text`"),
        (b"label\ttext\ngood\tfine\nbad\xff\tdull\n", "line 3: not UTF-8"),
        (b"label\ttext\ngood fine\n", "line 2: a line must be a label, one tab, a text"),
        (b"label\ttext\ngood\tfine\n\tdull\n", "line 3: a line must be a label, one tab, a text"),
        (b"label\ttext\ngood\tfine\tfilm\n", "line 2: a line must be a label, one tab, a text"),
    ],
)
def test_read_rows__malformed_line__is_named(tmp_path: Path, data: bytes, reason: str) -> None:
    file = tmp_path / "data.tsv"
    file.write_bytes(data)
    with pytest.raises(BuildError, match=reason):
        read_rows(file)


def test_read_rows__text_that_repeats__is_kept_once(tmp_path: Path) -> None:
    file = tmp_path / "data.tsv"
    file.write_bytes(b"label\ttext\r\ngood\tfine film\r\nbad\tfine film\r\n\r\nbad\tdull\r\n")
    assert [(row.label, row.text) for row in read_rows(file)] == [("good", "fine film"), ("bad", "dull")]


def test_task_build__one_label__is_refused(options: ClassifyOptions, tmp_path: Path) -> None:
    file = tmp_path / "data.tsv"
    file.write_text("label\ttext\ngood\tfine\n")
    arguments = [
        "task",
        "build",
        "classify",
        "--base",
        str(options.base),
        "--dataset",
        str(file),
        "--url",
        "https://files.example",
        "--out",
        str(tmp_path / "t"),
    ]
    result = CliRunner(mix_stderr=False).invoke(cli, arguments)
    assert isinstance(result.exception, BuildError)
    assert str(result.exception) == "the data set has 1 different labels; a classification has 2 to 1000 of them"


@pytest.mark.parametrize(
    ("option", "value", "flag", "said"),
    [
        ("title", "x" * 201, "--title", "String should have at most 200 characters"),
        ("title", "\x1b[2J", "--title", "control characters are not allowed"),
        ("dataset", Path("caf\udce9.tsv"), "--title", "Input should be a valid string"),
        ("source", "\x07", "--source", "control characters are not allowed"),
        (
            "url",
            f"https://{'a' * 180}.example",
            "--url",
            "a URL with more than 179 characters makes URIs that are too long",
        ),
        ("alpha", 10**30, "--alpha", "Input should be less than or equal to 1000000"),
    ],
)
def test_options__that_no_manifest_takes__are_refused_before_the_work(
    option: str, value: object, flag: str, said: str
) -> None:
    given = {"base": Path("model"), "dataset": Path("d.tsv"), "url": "https://files.example"} | {option: value}
    with pytest.raises(click.BadParameter, match=said) as refused:
        read_options(ClassifyOptions, given)
    assert refused.value.param_hint == f"'{flag}'"
