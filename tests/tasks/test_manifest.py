"""The manifest: its one canonical form, and the error for each field or byte that differs from it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from verifier.artifacts import tensors
from verifier.artifacts.digests import digest, to_hex
from verifier.artifacts.tensors import TensorSpec
from verifier.tasks.errors import ManifestError
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, Manifest, canonical, load_manifest

SET_SIZE = 1024 + 16 * (4 * 2 + 2)  # 10 examples in batches of 8 are 16 rows of 4 token ids and a label
Fields = dict[str, Any]
Change = Callable[[Fields], Any]


@pytest.fixture
def fields() -> Fields:
    return {
        "version": 1,
        "kind": "classify",
        "title": "Sentiment of film reviews – très bien",
        "program": {"digest": "0x" + "01" * 32, "size": 5000, "uris": ["https://files.example/program"]},
        "submission": [
            {"name": "query.lora_A", "dtype": "int16", "shape": [4, 8], "grid": -12},
            {"name": "query.lora_B", "dtype": "int16", "shape": [8, 4], "grid": -12},
        ],
        "examples": [
            {"name": "input_ids", "dtype": "uint16", "shape": [8, 4], "grid": 0},
            {"name": "label", "dtype": "int16", "shape": [8], "grid": 0},
        ],
        "practice": {"digest": "0x" + "02" * 32, "size": SET_SIZE, "count": 10, "uris": []},
        "holdout": {"sealed_digest": "0x" + "03" * 32, "size": SET_SIZE, "count": 16, "uris": ["ipfs://x"]},
        "batch": 8,
        "metric": {"name": "accuracy", "unit": "correct sentences", "bound": 16},
        "macs": 123_456,
        "base": {"model": "all-MiniLM-L6-v2", "tokenizer": "all-MiniLM-L6-v2"},
        "settings": {"rank": 4, "alpha": 8, "targets": ["query", "value"], "labels": ["negative", "positive"]},
    }


def test_from_bytes__canonical_manifest__is_read_and_written_back(fields: Fields) -> None:
    data = canonical(fields)
    manifest = Manifest.from_bytes(data, digest(data))
    assert manifest.to_bytes() == data
    assert manifest.digest() == digest(data)
    assert manifest.settings["targets"] == ("query", "value")
    assert Manifest.from_fields(fields) == manifest


def test_to_bytes__manifest__is_these_bytes(fields: Fields) -> None:
    fields |= {"submission": fields["submission"][:1], "examples": fields["examples"][:1], "holdout": None}
    fields["practice"] |= {"size": 1024 + 16 * 8}
    assert (
        Manifest.from_fields(fields).to_bytes()
        == (
            '{"base":{"model":"all-MiniLM-L6-v2","tokenizer":"all-MiniLM-L6-v2"},"batch":8,'
            '"examples":[{"dtype":"uint16","grid":0,"name":"input_ids","shape":[8,4]}],"holdout":null,"kind":"classify",'
            '"macs":123456,"metric":{"bound":16,"name":"accuracy","unit":"correct sentences"},'
            '"practice":{"count":10,"digest":"0x' + "02" * 32 + '","size":1152,"uris":[]},'
            '"program":{"digest":"0x' + "01" * 32 + '","size":5000,"uris":["https://files.example/program"]},'
            '"settings":{"alpha":8,"labels":["negative","positive"],"rank":4,"targets":["query","value"]},'
            '"submission":[{"dtype":"int16","grid":-12,"name":"query.lora_A","shape":[4,8]}],'
            '"title":"Sentiment of film reviews – très bien","version":1}'
        ).encode()
    )


def test_schemas__manifest__are_what_tensor_files_need(fields: Fields) -> None:
    manifest = Manifest.from_fields(fields)
    assert manifest.submission_schema == (
        TensorSpec("query.lora_A", "int16", (4, 8), -12),
        TensorSpec("query.lora_B", "int16", (8, 4), -12),
    )
    assert manifest.set_schema(10) == (
        TensorSpec("input_ids", "uint16", (16, 4), 0),
        TensorSpec("label", "int16", (16,), 0),
    )
    assert tensors.size(manifest.set_schema(10)) == SET_SIZE
    assert [manifest.rows(count) for count in (1, 8, 9, 16)] == [8, 8, 16, 16]
    assert manifest.evaluation_count == 16


def test_evaluation_count__no_holdout__is_the_practice_sets(fields: Fields) -> None:
    assert Manifest.from_fields({**fields, "holdout": None}).evaluation_count == 10


def test_manifest__read__cannot_be_changed(fields: Fields) -> None:
    manifest = Manifest.from_fields(fields)
    with pytest.raises(ValidationError, match="frozen"):
        manifest.batch = 4  # type: ignore[misc]


def put(*path: str | int, value: Any) -> Change:
    """Return a change that sets the field at `path`."""

    def change(fields: Fields) -> None:
        at: Any = fields
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = value

    return change


def drop(*path: str | int) -> Change:
    """Return a change that removes the field at `path`."""

    def change(fields: Fields) -> None:
        at: Any = fields
        for step in path[:-1]:
            at = at[step]
        del at[path[-1]]

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("reward", value=1), "reward: Extra inputs are not permitted"),
        (put("program", "url", value="x"), "program.url: Extra inputs are not permitted"),
        (put("submission", 0, "scale", value=1), "submission.0.scale: Extra inputs are not permitted"),
        (drop("batch"), "batch: Field required"),
        (drop("holdout"), "holdout: Field required"),
        (drop("practice", "count"), "practice.count: Field required"),
        (put("version", value=2), "version: Input should be 1"),
        (put("version", value=True), "manifest: "),
        (put("batch", value=True), "batch: Input should be a valid integer"),
        (put("macs", value=True), "macs: Input should be a valid integer"),
        (put("settings", "rank", value=True), "settings.rank"),
        (put("submission", 0, "grid", value=False), "submission.0.grid: Input should be a valid integer"),
        (put("submission", 0, "shape", 0, value=True), "submission.0.shape.0: Input should be a valid integer"),
        (put("batch", value="8"), "batch: Input should be a valid integer"),
        (put("batch", value=None), "batch: Input should be a valid integer"),
        (put("batch", value=0), "batch: Input should be greater than or equal to 1"),
        (put("batch", value=65_537), "batch: Input should be less than or equal to 65536"),
        (put("practice", "count", value=-1), "practice.count: Input should be greater than or equal to 1"),
        (put("holdout", "count", value=0), "holdout.count: Input should be greater than or equal to 1"),
        (put("holdout", "count", value=2**32), "holdout.count: Input should be less than 4294967296"),
        (put("program", "size", value=-5), "program.size: Input should be greater than or equal to 1"),
        (put("program", "size", value=2**36 + 1), "program.size: Input should be less than or equal to 68719476736"),
        (put("macs", value=0), "macs: Input should be greater than or equal to 1"),
        (put("macs", value=2**64), "macs: Input should be less than 18446744073709551616"),
        (put("metric", "bound", value=2**96), "metric.bound: Input should be less than 79228162514264337593543950336"),
        (put("metric", "bound", value=-1), "metric.bound: Input should be greater than or equal to 0"),
        (put("metric", "bound", value=10**60), "an integer literal of 61 digits, at most 40 are allowed"),
        (put("settings", "rank", value=2**63), "settings.rank"),
        (put("settings", "rank", value=1.5), "1.5 is not an integer"),
        (put("batch", value=8.0), "8.0 is not an integer"),
        (put("settings", "Rank", value=1), "settings.Rank"),
        (put("settings", "nested", value={"a": 1}), "settings.nested"),
        (put("settings", "nothing", value=None), "settings.nothing"),
        (put("kind", value="LoRA"), "kind: String should match pattern"),
        (put("title", value=""), "title: String should have at least 1 character"),
        (put("title", value="x" * 201), "title: String should have at most 200 characters"),
        (put("title", value="red \x1b[31m"), "title: Value error, control characters are not allowed"),
        (put("title", value="left \u202e right"), "title: Value error, control characters are not allowed"),
        (put("base", "model", value="a\nb"), "base.model: Value error, control characters are not allowed"),
        (put("program", "digest", value="01" * 32), "program.digest: String should match pattern"),
        (put("program", "digest", value="0x" + "AB" * 32), "program.digest: String should match pattern"),
        (put("program", "digest", value="0x" + "01" * 32 + "\n"), "program.digest: String should match pattern"),
        (put("program", "uris", value=["https://a b"]), "program.uris.0: String should match pattern"),
        (put("program", "uris", value=["https://" + "a" * 250]), "program.uris.0: String should have at most 256"),
        (put("program", "uris", value=["https://a"] * 9), "program.uris: Tuple should have at most 8 items"),
        (put("submission", value=[]), "submission: Tuple should have at least 1 item"),
        (put("examples", value=[]), "examples: Tuple should have at least 1 item"),
        (put("submission", 0, "dtype", value="float32"), "dtype 'float32' is not one of int8"),
        (put("submission", 0, "shape", value=[4, -8]), "query.lora_A: a shape has at most 8 dimensions"),
        (
            put("submission", 0, "shape", value=[2**40, 2**40]),
            "query.lora_A: larger than the maximum of 68719476736 bytes",
        ),
        (put("submission", 0, "shape", value=[10**39]), "query.lora_A: larger than the maximum of 68719476736 bytes"),
        (put("submission", 0, "grid", value=5000), "query.lora_A: the grid exponent must be within ±1074"),
        (put("submission", 0, "name", value="__metadata__"), "cannot name a tensor"),
        (put("submission", 0, "name", value="query.lora_B"), "two tensors have the same name"),
        (put("submission", 0, "name", value="label"), "two tensors have the same name"),
        (put("examples", 0, "shape", value=[4, 4]), "input_ids: the first dimension is not the batch of 8"),
        (put("examples", 1, "shape", value=[]), "label: the first dimension is not the batch of 8"),
        (put("practice", "size", value=SET_SIZE + 1), f"practice: 10 examples take a file of {SET_SIZE} bytes"),
        (put("holdout", "count", value=17), f"holdout: 17 examples take a file of {SET_SIZE + 80} bytes"),
        (put("practice", "count", value=2**32 - 1), "practice: 4294967295 examples take a file of"),
    ],
)
def test_from_fields__wrong_field__is_named(fields: Fields, change: Change, reason: str) -> None:
    change(fields)
    with pytest.raises(ManifestError) as caught:
        Manifest.from_fields(fields)
    assert str(caught.value).startswith("manifest: ")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_from_fields__many_wrong_fields__names_the_first_ones(fields: Fields) -> None:
    with pytest.raises(ManifestError, match=r"unknown0: .*; and 15 more$"):
        Manifest.from_fields({**fields, **{f"unknown{number}": 1 for number in range(20)}})


def test_from_bytes__kind_lora_of_earlier_releases__names_the_command(fields: Fields) -> None:
    settings = fields.pop("settings")
    old = {**fields, "kind": "lora", "adapter": settings}
    with pytest.raises(ManifestError) as caught:
        Manifest.from_bytes(canonical(old))
    assert str(caught.value) == (
        "manifest: the kind 'lora' of earlier releases is now 'classify': "
        "build the task again with `touchstone task build classify`"
    )


def test_from_fields__value_outside_json__is_refused(fields: Fields) -> None:
    with pytest.raises(ManifestError, match="not JSON serializable"):
        Manifest.from_fields({**fields, "title": object()})


def test_from_bytes__other_digest__is_refused(fields: Fields) -> None:
    data = canonical(fields)
    with pytest.raises(ManifestError, match=f"its digest is {to_hex(digest(data))}, not 0x{'00' * 32}"):
        Manifest.from_bytes(data, bytes(32))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda fields: json.dumps(fields, sort_keys=True, ensure_ascii=False).encode(),
        lambda fields: json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode(),
        lambda fields: json.dumps(fields, sort_keys=True, separators=(",", ":")).encode(),
        lambda fields: canonical(fields) + b"\n",
        lambda fields: b" " + canonical(fields),
        lambda fields: canonical(fields).replace(b'"batch":8', b'"batch":8,'.replace(b",", b" ")),
        lambda fields: canonical(fields).replace(b"lora_A", b"lora\\u005fA"),
        lambda fields: canonical(fields).replace(b'"grid":0', b'"grid":-0'),
    ],
    ids=["spaces", "order", "escapes", "newline", "leading space", "space", "escape", "minus zero"],
)
def test_from_bytes__same_fields_in_another_form__is_not_canonical(
    fields: Fields, rewrite: Callable[[Fields], bytes]
) -> None:
    with pytest.raises(ManifestError, match="not canonical JSON"):
        Manifest.from_bytes(rewrite(fields))


@pytest.mark.parametrize(
    ("replaced", "by", "reason"),
    [
        (b'"batch":8', b'"batch":8,"batch":9', "the key 'batch' occurs twice in one object"),
        (b'"rank":4', b'"rank":4,"rank":4', "the key 'rank' occurs twice in one object"),
        (b'"batch":8', b'"batch":8.0', "8.0 is not an integer"),
        (b'"batch":8', b'"batch":8e0', "8e0 is not an integer"),
        (b'"batch":8', b'"batch":NaN', "NaN is not an integer"),
        (b'"batch":8', b'"batch":-Infinity', "-Infinity is not an integer"),
        (b'"batch":8', b'"batch":08', "not JSON"),
        (b'"batch":8', b'"batch":' + b"9" * 5000, "an integer literal of 5000 digits, at most 40 are allowed"),
        (b'"batch":8', b'"batch":', "not JSON"),
        (b"Sentiment", b"\xff", "not UTF-8: invalid start byte at byte"),
        (b"Sentiment", b"\xed\xa0\x80", "not UTF-8"),
        (b"Sentiment", b"\\ud800", "manifest: "),
        (b'"rank":4', b'"rank":' + b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
)
def test_from_bytes__hostile_json__is_refused(fields: Fields, replaced: bytes, by: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        Manifest.from_bytes(canonical(fields).replace(replaced, by))


@pytest.mark.parametrize("data", [b"", b"null", b"[]", b"1", b'"manifest"', b"\xef\xbb\xbf{}", b"{}"])
def test_from_bytes__other_json__is_refused(data: bytes) -> None:
    with pytest.raises(ManifestError, match="^manifest: "):
        Manifest.from_bytes(data)


def test_from_bytes__too_large__is_refused_unparsed() -> None:
    with pytest.raises(ManifestError, match="1048577 bytes, at most 1048576 are allowed"):
        Manifest.from_bytes(b" " * (MAX_MANIFEST_BYTES + 1))


def test_from_bytes__many_quotes_and_no_end__is_refused_in_linear_time() -> None:
    """Half a megabyte of escaped quotes once took a quarter of an hour, in the loop of every verifier."""
    with pytest.raises(ManifestError, match="manifest: "):
        Manifest.from_bytes(b'"' + b'\\"' * 260_000)


def test_load_manifest__of_another_file__names_it(tmp_path: Path) -> None:
    file = tmp_path / "data.tsv"
    file.write_text("label\ttext\n")
    with pytest.raises(ManifestError, match=f"^{file} is not a task's manifest: manifest: not JSON"):
        load_manifest(file)
