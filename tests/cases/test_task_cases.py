"""Real-world model folders, data sets and adapters from which a wrong task or submission was made.

Each test asserts the right behaviour. It is marked xfail until the fault is mended, and then stays as a plain test.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from transformers import AutoTokenizer

from tests.tasks.conftest import adapted
from tests.tasks.tiny import write_dataset, write_model
from verifier.artifacts import tensors
from verifier.cli.main import cli
from verifier.tasks.errors import BuildError, PackError
from verifier.tasks.kinds.classify.build import CALIBRATION_BATCHES, build
from verifier.tasks.kinds.classify.options import ClassifyOptions
from verifier.tasks.kinds.classify.pack import pack
from verifier.tasks.manifest import load_manifest
from verifier.tasks.sets import Split
from verifier.tasks.text.encoding import Encoding
from verifier.tasks.text.rows import Row, read_rows

LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 12345\n"
PRACTICE, HOLDOUT, BATCH, SEQUENCE, SEED = 30, 18, 4, 12, 3


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model folder that a test may spoil."""
    folder = tmp_path / "base"
    write_model(folder)
    return folder


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "words.tsv"
    write_dataset(file, 200)
    return file


def options(base: Path, dataset: Path) -> ClassifyOptions:
    """A sponsor's choices for a small task."""
    return ClassifyOptions(
        base=base,
        dataset=dataset,
        targets=("query", "value"),
        rank=2,
        alpha=4,
        practice=PRACTICE,
        holdout=HOLDOUT,
        batch=BATCH,
        sequence=SEQUENCE,
        seed=SEED,
        title="Good and bad words",
        url="https://files.example",
    )


# The model folder


def pointer(weights: bytes) -> bytes:
    """What a clone without Git LFS has instead of the file."""
    return LFS_POINTER


def cut_short(weights: bytes) -> bytes:
    """What an interrupted download leaves."""
    return weights[:-5_000]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [(pointer, r"model\.safetensors.* Git LFS"), (cut_short, r"model\.safetensors.* incomplete")],
    ids=["pointer", "cut short"],
)
def test_build__weights_are_not_whole__is_refused_with_the_reason(
    base: Path, dataset: Path, tmp_path: Path, spoil: Callable[[bytes], bytes], problem: str
) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(spoil(weights.read_bytes()))
    with pytest.raises(BuildError, match=problem):
        build(options(base, dataset), tmp_path / "task")


def test_build__configuration_of_another_width__is_refused(base: Path, dataset: Path, tmp_path: Path) -> None:
    file = base / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 48}))
    with pytest.raises(BuildError):
        build(options(base, dataset), tmp_path / "task")


def test_encode__folder_without_a_tokenizer__is_refused(base: Path, dataset: Path) -> None:
    for file in base.glob("tokenizer*"):
        file.unlink()
    rows = read_rows(dataset)
    with pytest.raises(BuildError, match="tokenizer|unknown"):
        Encoding(base, SEQUENCE, ("bad", "good")).encode(rows)


@pytest.mark.parametrize("part", ["holdout", "train"])
def test_build__token_beyond_the_embedding__is_refused(base: Path, dataset: Path, tmp_path: Path, part: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(["<url>"])
    tokenizer.save_pretrained(base)
    rows = read_rows(dataset)
    split = Split.draw(rows, PRACTICE, HOLDOUT, CALIBRATION_BATCHES * BATCH, SEED)
    marked = {row.text for row in getattr(split, part)[:2]}
    file = tmp_path / "marked.tsv"
    write(file, [Row(row.label, row.text + " <url>" * (row.text in marked)) for row in rows])
    with pytest.raises(BuildError, match="token"):
        build(options(base, file), tmp_path / "task")


# The data set


def write(file: Path, rows: list[Row]) -> None:
    """A data set of these rows, repeated ones included."""
    file.write_text("label\ttext\n" + "".join(f"{row.label}\t{row.text}\n" for row in rows), "utf-8")


def test_build__texts_that_differ_in_white_space__are_in_one_set(base: Path, dataset: Path, tmp_path: Path) -> None:
    file = tmp_path / "near.tsv"
    write(
        file,
        [
            Row(row.label, text)
            for row in read_rows(dataset)
            for text in (row.text, f"{row.text}  \u200b", row.text.replace(" ", "  ", 1))
        ],
    )
    folder = tmp_path / "task"
    build(options(base, file), folder)
    train = Encoding(base, SEQUENCE, ("bad", "good")).encode(read_rows(folder / "train.tsv"))["input_ids"]
    schema = load_manifest(folder / "manifest.json").set_schema(HOLDOUT)
    held_out = tensors.decode(schema, (folder / "holdout.tensors").read_bytes())["input_ids"][:HOLDOUT]
    published = {row.astype("int32").tobytes() for row in train}
    assert [row for row in held_out if row.astype("int32").tobytes() in published] == []


def test_read_rows__file_with_a_byte_order_mark__is_read(tmp_path: Path) -> None:
    file = tmp_path / "data.tsv"
    file.write_text("label\ttext\ngood\ta fine film\nbad\ta dull film\n", "utf-8-sig")
    assert read_rows(file) == [Row("good", "a fine film"), Row("bad", "a dull film")]


# Adapters


@pytest.fixture(scope="module")
def built(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task, `task`, and an adapter of it as PEFT writes it, `adapter`."""
    folder = tmp_path_factory.mktemp("built")
    write_model(folder / "base")
    build(options(folder / "base", dataset), folder / "task")
    adapted(folder / "base", 1).save_pretrained(folder / "adapter")
    return folder


@pytest.fixture
def manifest_file(built: Path) -> Path:
    return built / "task" / "manifest.json"


@pytest.fixture
def adapter(built: Path, tmp_path: Path) -> Path:
    """A copy of the adapter that a test may change."""
    return Path(shutil.copytree(built / "adapter", tmp_path / "adapter"))


def configure(adapter: Path, encoding: str = "utf-8", **changes: Any) -> None:
    """Change an adapter's settings."""
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | changes), encoding)


def rename_tensors(adapter: Path, rename: Callable[[str], str]) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file({rename(name): array for name, array in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("alora_invocation_tokens", [5, 6]), ("use_bdlora", {"nblocks": 2})],
    ids=["aLoRA", "BD-LoRA"],
)
def test_pack__setting_that_changes_the_forward_pass__is_refused(
    adapter: Path, manifest_file: Path, setting: str, value: Any
) -> None:
    configure(adapter, **{setting: value})
    with pytest.raises(PackError, match=setting):
        pack(adapter, load_manifest(manifest_file))


@pytest.mark.parametrize(
    ("setting", "value"),
    [("base_model_name_or_path", "some/other-model"), ("task_type", "SEQ_CLS")],
    ids=["another base", "head behind a pooler"],
)
def test_pack__adapter_of_another_model__gets_a_remark(
    adapter: Path, manifest_file: Path, tmp_path: Path, setting: str, value: str
) -> None:
    configure(adapter, **{setting: value})
    if setting == "task_type":
        rename_tensors(adapter, lambda name: name.replace("base_model.model.encoder.", "base_model.model.bert."))
    out = tmp_path / "submission"
    found = CliRunner().invoke(cli, ["pack", str(adapter), "--task", str(manifest_file), "--out", str(out)])
    assert value in found.output


def test_pack__tensors_named_as_in_a_state_dict__are_the_same_adapter(adapter: Path, manifest_file: Path) -> None:
    manifest = load_manifest(manifest_file)
    expected = pack(adapter, manifest).data
    rename_tensors(adapter, lambda name: name.replace(".weight", ".default.weight") if ".lora_" in name else name)
    assert pack(adapter, manifest).data == expected


def test_pack__adapter_is_a_git_lfs_pointer__is_refused_as_one(adapter: Path, manifest_file: Path) -> None:
    (adapter / "adapter_model.safetensors").write_bytes(LFS_POINTER)
    with pytest.raises(PackError, match="Git LFS"):
        pack(adapter, load_manifest(manifest_file))


def test_pack__settings_with_a_byte_order_mark__are_read(adapter: Path, manifest_file: Path) -> None:
    manifest = load_manifest(manifest_file)
    expected = pack(adapter, manifest).data
    configure(adapter, encoding="utf-8-sig")
    assert pack(adapter, manifest).data == expected
