"""Records: what a sponsor or solver needs for the reveal, as one JSON file for each task or submission.

A record is on disk before the transaction that it is needed for is sent, and it is never overwritten.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import ape
import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts import _chain
from verifier.artifacts.digests import parse_hex
from verifier.artifacts.errors import TargetExistsError
from verifier.artifacts.new_files import write_new
from verifier.tasks.manifest import problems

Hex = Annotated[str, Field(pattern="^0x[0-9a-fA-F]{64}$")]


class _Record(BaseModel):
    """What the records of both kinds have, with the types of JSON."""

    model_config = ConfigDict(strict=True)

    record: str
    network: str
    chain_id: int
    bounties: str
    task: Hex


class _HoldoutRecord(BaseModel):
    model_config = ConfigDict(strict=True)

    sealed: Hex
    plain: Hex
    key_file: str


class _TaskRecord(_Record):
    sponsor: str
    nonce: int
    manifest: Hex
    holdout: _HoldoutRecord | None


class _SubmissionRecord(_Record):
    solver: str
    commitment: Hex
    sealed: Hex
    plain: Hex
    key_file: str


_MODELS: dict[str, type[_Record]] = {"task": _TaskRecord, "submission": _SubmissionRecord}


def write(path: Path, record: dict[str, Any]) -> None:
    """Write a record. Writing the same one again is accepted, to continue after an interruption.

    Errors: UsageError when the file has other content.
    """
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_new(path, text.encode())
    except TargetExistsError as error:
        if path.read_text("utf-8") != text:
            raise click.UsageError(
                f"{path} exists with other content and is not overwritten: choose another --out"
            ) from error


def read(path: Path, kind: str) -> dict[str, Any]:
    """Read a "task" or "submission" record of the connected deployment. Errors: UsageError."""
    record = _load(path, kind)
    try:
        _MODELS[kind].model_validate(record)
    except ValidationError as error:
        raise click.UsageError(f"{path} is damaged: {problems(error)}; restore it from a copy") from error
    bounties = _chain.record()["contracts"]["Bounties"]["address"]
    if (record["chain_id"], record["bounties"]) != (ape.chain.chain_id, bounties):
        raise click.UsageError(
            f"{path} belongs to the contract {record['bounties']} on {record['network']} (chain {record['chain_id']}), "
            f"but --network leads to {bounties} on {_chain.network()} (chain {ape.chain.chain_id})"
        )
    return record


class TaskId(_chain.Word):
    """A task: its id, or the path of its record."""

    name = "TASK"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        path = Path(str(value))
        if not isinstance(value, bytes) and path.is_file():
            value = _load(path, "task").get("task")
            if parse_hex(str(value)) is None:
                self.fail(f"{path} is damaged: it has no task id", param, ctx)
        return super().convert(value, param, ctx)


def _load(path: Path, kind: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = record["record"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is not a record that `ape run {kind}` wrote: {error}") from error
    if found != kind:
        raise click.UsageError(f"{path} is the record of a {found}, not of a {kind}")
    return record


def beside(record: Path, file: Path) -> str:
    """The path of `file` relative to the record's folder, so that both can be moved together."""
    return os.path.relpath(file.resolve(), record.resolve().parent)


def resolve(record: Path, noted: str) -> Path:
    """The path of a file that a record names."""
    return record.resolve().parent / noted
