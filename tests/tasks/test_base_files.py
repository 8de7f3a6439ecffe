"""A manifest names the base model so that a person can find it, and a local copy of it is compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tasks.conftest import BuiltTask
from verifier.artifacts import digests
from verifier.cli.main import cli
from verifier.tasks.errors import ManifestError, WrongBase
from verifier.tasks.kinds.classify.build import build
from verifier.tasks.kinds.classify.options import ClassifyOptions, ClassifyTraining
from verifier.tasks.kinds.classify.train import train
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.base_files import check_base, source_of


def test_build__manifest__names_weights_and_vocabulary_with_digest_and_size(task: BuiltTask) -> None:
    base = task.manifest.base
    assert [file.name for file in base.files] == ["model.safetensors", "tokenizer.json"]
    for file in base.files:
        path = task.options.base / file.name
        assert (file.digest, file.size) == (digests.to_hex(digests.digest_file(path)), path.stat().st_size)
    assert base.source == task.options.base.name


def test_source__of_a_folder_in_the_hubs_cache__is_the_models_id(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--sentence-transformers--all-MiniLM-L6-v2" / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    assert source_of(snapshot) == "sentence-transformers/all-MiniLM-L6-v2"
    (tmp_path / "MiniLM").mkdir()
    assert source_of(tmp_path / "MiniLM") == "MiniLM"


def test_task_build__publish_train__names_the_rows_with_digest_size_and_count(
    options: ClassifyOptions, tmp_path: Path
) -> None:
    chosen = options.model_copy(update={"publish_train": True, "source": "https://models.example/words"})
    summary = build(chosen, tmp_path / "task")
    manifest = Manifest.from_bytes((tmp_path / "task" / "manifest.json").read_bytes())
    rows = (tmp_path / "task" / "train.tsv").read_bytes()
    assert manifest.training is not None
    assert manifest.training.model_dump() == {
        "digest": digests.to_hex(digests.digest(rows)),
        "size": len(rows),
        "count": summary["counts"]["train"],
        "format": "tsv",
        "uris": (f"https://files.example/artifacts/{digests.to_hex(digests.digest(rows))}",),
    }
    assert manifest.base.source == "https://models.example/words"
    assert str(tmp_path / "task" / "train.tsv") in summary["publish"]


def test_task_build__without_the_sponsors_consent__names_no_rows(task: BuiltTask) -> None:
    assert task.manifest.training is None
    assert "training" not in json.loads(task.manifest.to_bytes())
    assert not any("train.tsv" in name for name in task.summary["publish"])
    assert (task.folder / "train.tsv").is_file()


def test_manifest__training_null__is_refused(task: BuiltTask) -> None:
    fields = json.loads(task.manifest.to_bytes()) | {"training": None}
    with pytest.raises(ManifestError, match="training: leave the field out instead of giving null"):
        Manifest.from_fields(fields)


@pytest.mark.parametrize("name", ["../model.safetensors", ".hidden", "a/b", ""])
def test_manifest__file_of_the_base_with_a_path__is_refused(task: BuiltTask, name: str) -> None:
    fields = json.loads(task.manifest.to_bytes())
    fields["base"]["files"][0]["name"] = name
    with pytest.raises(ManifestError, match="base.files.0.name"):
        Manifest.from_fields(fields)


def test_train__other_weights__names_the_file_and_both_digests(task: BuiltTask, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(task.options.base, other)
    with (other / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    training = ClassifyTraining(base=other, data=task.folder / "train.tsv")
    with pytest.raises(WrongBase) as refused:
        train(task.manifest, training, tmp_path / "adapter")
    found = digests.to_hex(digests.digest_file(other / "model.safetensors"))
    assert str(refused.value) == (
        f"{other} is not the base model of this task: model.safetensors has the digest {found}, and the manifest says "
        f"{task.manifest.base.files[0].digest}; get {task.manifest.base.source}"
    )
    assert not (tmp_path / "adapter").exists()


def test_check_base__manifest_of_an_earlier_release__compares_the_files_that_its_texts_name(
    task: BuiltTask, tmp_path: Path
) -> None:
    fields = json.loads(task.manifest.to_bytes())
    del fields["base"]["files"], fields["base"]["source"]
    earlier = Manifest.from_fields(fields)
    check_base(task.options.base, earlier)
    with pytest.raises(WrongBase, match=r"is not the base model of this task: it has no model\.safetensors$"):
        check_base(tmp_path, earlier)


def test_task_build__help__says_what_publishing_rows_means() -> None:
    said = " ".join(CliRunner().invoke(cli, ["task", "build", "classify", "--help"]).output.split())
    assert "--publish-train / --no-publish-train" in said
    assert "you agree that everybody may read these rows" in said
