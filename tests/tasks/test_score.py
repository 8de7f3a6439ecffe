"""The score that a solver computes is the score that a verifier computes, to the last unit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel

from tests.tasks.conftest import BATCH, HOLDOUT, PRACTICE, BuiltTask
from verifier.artifacts import digests, sealing, tensors
from verifier.artifacts.evidence import evidence_file
from verifier.artifacts.tensors import TensorSpec
from verifier.cli.main import cli
from verifier.exact import Program, load_program, reference
from verifier.protocol.constants import Outcome
from verifier.tasks.case import Case, SealedFile, StoredFile
from verifier.tasks.errors import NotEnoughMemory, TaskError
from verifier.tasks.judge import EvaluationLimits, SubmissionScore, evaluate, judge, score
from verifier.tasks.kinds.classify.pack import pack
from verifier.tasks.models.classifier import load_classifier
from verifier.tasks.thresholds import on_the_other_set, threshold_on_practice

LIMITS = EvaluationLimits(threads=1, memory_bytes=1 << 32)


class Reference:
    """The reference interpreter as a Runner."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def run(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
        return reference.run(self._program, feeds)


@pytest.fixture
def submission(task: BuiltTask, adapter: Path, tmp_path: Path) -> Path:
    """The solver's packed adapter."""
    file = tmp_path / "mine.tensors"
    file.write_bytes(pack(adapter, task.manifest).data)
    return file


def scored(*arguments: str | Path) -> dict[str, object]:
    result = CliRunner(mix_stderr=False).invoke(cli, ["score", *map(str, arguments)])
    assert result.exit_code == 0, result.exception
    found: dict[str, object] = json.loads(result.stdout)
    return found


def by_reference(task: BuiltTask, submission: Path, file: Path, count: int) -> SubmissionScore:
    """The score and the records that the reference interpreter finds, on integers alone."""
    manifest = task.manifest
    program = load_program((task.folder / "program.onnx").read_bytes())
    adapter = tensors.decode(manifest.submission_schema, submission.read_bytes())
    examples = tensors.decode(manifest.set_schema(count), file.read_bytes())
    return evaluate(program, Reference(program), adapter, examples, manifest.batch)


def test_score__practice_set__equals_the_reference_interpreters(task: BuiltTask, submission: Path) -> None:
    found = scored("--task", task.folder / "manifest.json", "--submission", submission)
    expected = by_reference(task, submission, task.folder / "practice.tensors", PRACTICE)
    assert found == {
        "score": expected.score,
        "count": PRACTICE,
        "unit": "correct texts",
        "reads": f"{expected.score} of {PRACTICE} correct texts",
    }
    assert 0 < expected.score < PRACTICE


def test_score__opened_holdout__equals_the_judgement(task: BuiltTask, submission: Path, tmp_path: Path) -> None:
    manifest, folder = task.manifest, task.folder
    sealed = sealing.seal_file(submission, tmp_path / "mine.sealed", tmp_path / "mine.key")
    key = bytes.fromhex((tmp_path / "mine.key").read_text().strip()[2:])
    holdout_key = bytes.fromhex((folder / "holdout.key").read_text().strip()[2:])
    assert manifest.holdout is not None
    case = Case(
        manifest=StoredFile(folder / "manifest.json", manifest.digest()),
        program=StoredFile(folder / "program.onnx", digests.from_hex(manifest.program.digest)),
        evaluation_set=SealedFile(
            folder / "holdout.sealed",
            digests.from_hex(manifest.holdout.sealed_digest),
            digests.digest_file(folder / "holdout.tensors"),
            holdout_key,
        ),
        submissions=(SealedFile(sealed.file, sealed.sealed, sealed.plain, key),),
        macs=manifest.macs,
    )
    judgement = judge(case, tmp_path / "evidence", LIMITS, lambda done, total: None)
    expected = by_reference(task, submission, folder / "holdout.tensors", HOLDOUT)
    assert judgement.outcome == Outcome.SCORED
    assert judgement.scores == (expected.score,)
    assert (tmp_path / "evidence").read_bytes() == evidence_file([expected.records], 5)
    found = scored(
        "--task", folder / "manifest.json", "--submission", submission, "--holdout", folder / "holdout.tensors"
    )
    assert found == {
        "score": expected.score,
        "count": HOLDOUT,
        "unit": "correct texts",
        "reads": f"{expected.score} of {HOLDOUT} correct texts",
    }


def test_score__adapter_in_float__agrees_on_nearly_every_row(task: BuiltTask, adapter: Path, submission: Path) -> None:
    manifest = task.manifest
    model = PeftModel.from_pretrained(load_classifier(task.options.base, 2), adapter).eval()
    rows = tensors.decode(manifest.set_schema(PRACTICE), (task.folder / "practice.tensors").read_bytes())
    ids, mask = (torch.from_numpy(rows[name].astype(np.int64)) for name in ("input_ids", "attention_mask"))
    with torch.no_grad():
        logits, _ = model(ids, mask)
    right = int((logits.argmax(dim=1).numpy() == rows["label"]).sum())
    found = scored("--task", task.folder / "manifest.json", "--submission", submission)
    assert abs(int(str(found["score"])) - right) <= 1


def test_score__tied_logits__count_as_wrong(task: BuiltTask, tmp_path: Path) -> None:
    zeros = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in task.manifest.submission_schema}
    file = tmp_path / "zeros.tensors"
    file.write_bytes(tensors.encode(task.manifest.submission_schema, zeros))
    assert scored("--task", task.folder / "manifest.json", "--submission", file)["score"] == 0


def test_score__one_answer_for_all__counts_rows_of_that_label_without_padding(task: BuiltTask, tmp_path: Path) -> None:
    manifest = task.manifest
    rows = tensors.decode(manifest.set_schema(PRACTICE), (task.folder / "practice.tensors").read_bytes())
    for label in (0, 1):
        constant = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in manifest.submission_schema}
        constant["classifier.bias"][label] = 1
        file = tmp_path / f"{label}.tensors"
        file.write_bytes(tensors.encode(manifest.submission_schema, constant))
        found = scored("--task", task.folder / "manifest.json", "--submission", file)
        assert found["score"] == int((rows["label"][:PRACTICE] == label).sum())


@pytest.mark.parametrize("extreme", [-(2**15), 2**15 - 1])
def test_score__tensors_at_the_ends_of_int16__stay_exact(task: BuiltTask, tmp_path: Path, extreme: int) -> None:
    manifest = task.manifest
    rng = np.random.default_rng(1)
    hostile = {
        spec.name: (extreme * rng.choice([0, 1], spec.shape)).astype(spec.dtype) for spec in manifest.submission_schema
    }
    file = tmp_path / "hostile.tensors"
    file.write_bytes(tensors.encode(manifest.submission_schema, hostile))
    found = scored("--task", task.folder / "manifest.json", "--submission", file)
    assert found["score"] == by_reference(task, file, task.folder / "practice.tensors", PRACTICE).score


def test_score__files_elsewhere__are_named_by_options(task: BuiltTask, submission: Path, tmp_path: Path) -> None:
    for name, moved in (("manifest.json", "m"), ("program.onnx", "p"), ("practice.tensors", "s")):
        shutil.copy(task.folder / name, tmp_path / moved)
    named = ("--program", tmp_path / "p", "--practice", tmp_path / "s")
    found = scored("--task", tmp_path / "m", "--submission", submission, *named)
    assert found == scored("--task", task.folder / "manifest.json", "--submission", submission)


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--program", "is not the file of the manifest: its digest is 0x"),
        ("--practice", "is not the file of the manifest: its digest is 0x"),
        ("--holdout", "is not a set of this task: the file has 6 bytes, its schema says"),
        ("--submission", "is not a submission to this task: the file has 6 bytes, its schema says"),
    ],
)
def test_score__other_file__is_refused_by_name(
    task: BuiltTask, submission: Path, tmp_path: Path, option: str, reason: str
) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"others")
    arguments = {"--task": task.folder / "manifest.json", "--submission": submission, option: other}
    result = CliRunner(mix_stderr=False).invoke(
        cli, ["score", *(str(item) for pair in arguments.items() for item in pair)]
    )
    assert isinstance(result.exception, TaskError)
    assert str(result.exception).startswith(f"{other} {reason}")


def test_score__holdout_of_a_public_task__is_refused(task: BuiltTask, submission: Path, tmp_path: Path) -> None:
    public = task.manifest.model_copy(update={"holdout": None, "macs": task.manifest.macs * 2})
    (tmp_path / "manifest.json").write_bytes(public.to_bytes())
    arguments = ["score", "--task", str(tmp_path / "manifest.json"), "--submission", str(submission)]
    result = CliRunner(mix_stderr=False).invoke(cli, [*arguments, "--holdout", str(task.folder / "holdout.tensors")])
    assert isinstance(result.exception, TaskError)
    assert str(result.exception) == "the task has no holdout: its practice set is the evaluation set"


def test_score__program_needs_more_memory_than_allowed__is_not_run(task: BuiltTask, submission: Path) -> None:
    program = task.folder / "program.onnx"
    needed = load_program(program.read_bytes()).memory_bytes
    with pytest.raises(
        NotEnoughMemory, match=f"^the program needs {needed} bytes of memory, {needed - 1} are allowed$"
    ):
        score(
            task.manifest,
            submission,
            program,
            task.folder / "practice.tensors",
            sealed=False,
            limits=EvaluationLimits(threads=1, memory_bytes=needed - 1),
            on_batch=lambda done, total: None,
        )


def test_evaluate__label_outside_the_classes__never_counts(task: BuiltTask) -> None:
    manifest = task.manifest
    program = load_program((task.folder / "program.onnx").read_bytes())
    adapter = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in manifest.submission_schema}
    adapter["classifier.bias"][:] = [1, 2]
    rows: dict[str, np.ndarray] = {  # type: ignore[type-arg]
        "input_ids": np.full((BATCH, 12), 2**15 - 1, np.int16),
        "attention_mask": np.full((BATCH, 12), -128, np.int8),
        "label": np.array([1, 2, -1, 2**15 - 1], np.int16),
    }
    assert evaluate(program, Reference(program), adapter, rows, BATCH).score == 1


def test_schema__of_the_sets__equals_that_of_the_programs_inputs(task: BuiltTask) -> None:
    assert task.manifest.set_schema(1) == (
        TensorSpec("input_ids", "int16", (BATCH, 12), 0),
        TensorSpec("attention_mask", "int8", (BATCH, 12), 0),
        TensorSpec("label", "int16", (BATCH,), 0),
    )


def test_score__practice_set__says_what_share_of_the_holdout_it_is(task: BuiltTask, submission: Path) -> None:
    arguments = ["score", "--task", str(task.folder / "manifest.json"), "--submission", str(submission)]
    result = CliRunner(mix_stderr=False).invoke(cli, arguments)
    found = json.loads(result.stdout)["score"]
    share = f"{found * HOLDOUT / PRACTICE:.1f}".removesuffix(".0")
    assert (
        f"{found} on the {PRACTICE} examples of practice corresponds to {share} on the {HOLDOUT} of the holdout, to "
        "which the threshold applies"
    ) in result.stderr


@pytest.mark.parametrize(
    ("score", "sealed", "said"),
    [
        (
            93,
            False,
            "93 on the 128 examples of practice corresponds to 186 on the 256 of the holdout, to which the threshold "
            "applies",
        ),
        (85, True, "85 on the 256 examples of the holdout corresponds to 42.5 on the 128 of practice"),
        (
            -1_000,
            True,
            "-1,000 on the 256 examples of the holdout corresponds to -500 on the 128 of practice",
        ),
    ],
)
def test_scale__sets_of_two_sizes__compares_by_share(task: BuiltTask, score: int, sealed: bool, said: str) -> None:
    manifest = task.manifest
    assert manifest.holdout is not None
    sized = manifest.model_copy(
        update={
            "practice": manifest.practice.model_copy(update={"count": 128}),
            "holdout": manifest.holdout.model_copy(update={"count": 256}),
        }
    )
    assert on_the_other_set(sized, score, sealed=sealed) == said
    expected = "170 on the 256 examples of the holdout, which corresponds to 85 on the 128 of practice"
    assert threshold_on_practice(sized, 170) == expected


def test_score__sealed_holdout_given_as_the_opened_one__says_how_to_open_it(task: BuiltTask, submission: Path) -> None:
    sealed = task.folder / "holdout.sealed"
    arguments = {"--task": task.folder / "manifest.json", "--submission": submission, "--holdout": sealed}
    result = CliRunner().invoke(cli, ["score", *(str(item) for pair in arguments.items() for item in pair)])
    assert str(result.exception) == (
        f"{sealed} is the sealed holdout: `ape run submission score` opens it with the key that the sponsor reveals on "
        "chain, or open it with `touchstone unseal` and give the result"
    )


def test_score__holdout_unsealed_with_a_wrong_key__is_recognised(
    task: BuiltTask, submission: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "holdout.tensors"
    sealing.apply_to_file(bytes(32), task.folder / "holdout.sealed", wrong)
    arguments = {"--task": task.folder / "manifest.json", "--submission": submission, "--holdout": wrong}
    result = CliRunner().invoke(cli, ["score", *(str(item) for pair in arguments.items() for item in pair)])
    assert isinstance(result.exception, TaskError)
    assert "it looks like a file that was unsealed with a wrong key" in str(result.exception)


def test_score__sealed_holdout_with_its_opening__is_the_score_on_the_opened_file(
    task: BuiltTask, submission: Path
) -> None:
    described = json.loads((task.folder / "holdout.json").read_text())
    key = sealing.read_key(task.folder / "holdout.key")
    opening = (digests.from_hex(described["sealed"]), digests.from_hex(described["plain"]), key)
    files = (task.manifest, submission, task.folder / "program.onnx")
    sealed = SealedFile(task.folder / "holdout.sealed", *opening)
    found = score(*files, sealed, sealed=True, limits=LIMITS, on_batch=lambda done, total: None)
    opened = task.folder / "holdout.tensors"
    assert found == score(*files, opened, sealed=True, limits=LIMITS, on_batch=lambda done, total: None)
    other = SealedFile(sealed.path, sealed.sealed, sealed.plain, bytes(32))
    with pytest.raises(TaskError, match="the unsealed bytes do not have the revealed digest"):
        score(*files, other, sealed=True, limits=LIMITS, on_batch=lambda done, total: None)
