"""Sealed files and records, which a sponsor or solver must not lose."""

import json
from pathlib import Path

import click
import pytest

from scripts import _records, _sealed
from verifier.artifacts import digests, sealing
from verifier.artifacts.errors import KeyFileError

PLAIN = b"what nobody may read yet" * 100
KEY = bytes(range(32))


def seal(folder: Path, **changes: object) -> Path:
    """Write the files and the JSON of `touchstone seal`; `changes` replace fields."""
    ciphertext = sealing.seal(KEY, PLAIN)
    (folder / "x.sealed").write_bytes(ciphertext)
    (folder / "x.key").write_text("0x" + KEY.hex() + "\n")
    fields = {
        "plain": digests.to_hex(digests.digest(PLAIN)),
        "sealed": digests.to_hex(digests.digest(ciphertext)),
        "size": len(PLAIN),
        "file": "x.sealed",
        "key_file": "x.key",
    }
    description = folder / "x.json"
    description.write_text(json.dumps({**fields, **changes}))
    return description


def test_sealed__with_its_key__is_read_from_beside_the_json(tmp_path: Path) -> None:
    found = _sealed.load(seal(tmp_path))
    assert (found.sealed, found.plain) == (digests.digest(sealing.seal(KEY, PLAIN)), digests.digest(PLAIN))
    assert found.key() == KEY


def test_sealed__with_another_key__is_refused_without_showing_either(tmp_path: Path) -> None:
    description = seal(tmp_path)
    (tmp_path / "x.key").write_text("11" * 32)
    with pytest.raises(click.UsageError, match="does not open") as refused:
        _sealed.load(description)
    assert "1111" not in str(refused.value)


def test_sealed__whose_file_changed__is_refused(tmp_path: Path) -> None:
    description = seal(tmp_path)
    (tmp_path / "x.sealed").write_bytes(b"another")
    with pytest.raises(click.UsageError, match="does not have the digest that .* states: seal the file again"):
        _sealed.load(description)


@pytest.mark.parametrize("change", [{"sealed": "0x12"}, {"file": None}, {"key_file": 7}])
def test_sealed__from_a_json_of_something_else__is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises(click.UsageError, match="does not have the JSON that `touchstone seal` prints"):
        _sealed.load(seal(tmp_path, **change))


def test_sealed__key_file_of_something_else__is_refused_without_showing_it(tmp_path: Path) -> None:
    description = seal(tmp_path)
    (tmp_path / "x.key").write_text("secret words")
    with pytest.raises(KeyFileError) as refused:
        _sealed.load(description)
    assert str(refused.value) == f"{tmp_path / 'x.key'} is not a key file, which has one line of 64 hexadecimal digits"


def test_record__written_twice__may_be_the_same_and_never_another(tmp_path: Path) -> None:
    path = tmp_path / "new" / "task.json"
    _records.write(path, {"record": "task", "nonce": 1})
    _records.write(path, {"nonce": 1, "record": "task"})
    with pytest.raises(
        click.UsageError, match="exists with other content and is not overwritten: choose another --out"
    ):
        _records.write(path, {"record": "task", "nonce": 2})
    assert json.loads(path.read_text()) == {"record": "task", "nonce": 1}


def test_record__moved_with_its_key__still_finds_it(tmp_path: Path) -> None:
    (tmp_path / "a" / "keys").mkdir(parents=True)
    record, key = tmp_path / "a" / "record.json", tmp_path / "a" / "keys" / "x.key"
    noted = _records.beside(record, key)
    (tmp_path / "a").rename(tmp_path / "b")
    assert _records.resolve(tmp_path / "b" / "record.json", noted) == tmp_path / "b" / "keys" / "x.key"


def test_task_id__is_taken_as_it_stands_or_from_a_record(tmp_path: Path) -> None:
    record = tmp_path / "task.json"
    _records.write(record, {"record": "task", "task": "0x" + "ab" * 32})
    assert _records.TaskId().convert(str(record), None, None) == bytes([0xAB] * 32)
    assert _records.TaskId().convert("0x" + "cd" * 32, None, None) == bytes([0xCD] * 32)
    with pytest.raises(click.BadParameter, match="is not an id, which is 0x and 64 hexadecimal digits"):
        _records.TaskId().convert("0x12", None, None)


def test_task_id__from_a_record_of_a_submission__is_refused(tmp_path: Path) -> None:
    record = tmp_path / "submission.json"
    _records.write(record, {"record": "submission", "task": "0x" + "ab" * 32})
    with pytest.raises(click.UsageError, match="is the record of a submission, not of a task"):
        _records.TaskId().convert(str(record), None, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"record": "task"}', "is damaged: it has no task id"),
        ('{"record": "task", "task": 5}', "is damaged: it has no task id"),
        ("[1]", "is not a record that `ape run task` wrote"),
        ('{"record": "submission"}', "is the record of a submission, not of a task"),
    ],
)
def test_task_id__from_a_damaged_record__is_refused(tmp_path: Path, text: str, said: str) -> None:
    record = tmp_path / "task.json"
    record.write_text(text)
    with pytest.raises(click.UsageError, match=said):
        _records.TaskId().convert(str(record), None, None)


@pytest.mark.parametrize(
    ("kind", "fields", "said"),
    [
        ("task", {}, "is damaged: network: Field required; chain_id: Field required"),
        ("task", {"task": 5}, "; task: Input should be a valid string"),
        ("submission", {"key_file": None}, "is damaged: network: Field required"),
    ],
)
def test_record__that_lacks_fields__is_named_with_them(
    tmp_path: Path, kind: str, fields: dict[str, object], said: str
) -> None:
    record = tmp_path / "record.json"
    record.write_text(json.dumps({"record": kind} | fields))
    with pytest.raises(click.UsageError, match=said):
        _records.read(record, kind)
