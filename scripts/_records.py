"""Records: what a sponsor or solver must still know when the reveal is due. One JSON file for each task or submission.

A record is on disk before anything it is needed for is sent, and is never overwritten with another.
"""

import json
import os
from pathlib import Path
from typing import Any

import ape
import click

from scripts import _chain
from verifier.artifacts.errors import TargetExistsError
from verifier.artifacts.new_files import write_new


def write(path: Path, record: dict[str, Any]) -> None:
    """Keep a record. The same one may be written again, to go on after an interruption. Errors: UsageError."""
    text = json.dumps(record, indent=2, sort_keys=True) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        write_new(path, text.encode())
    except TargetExistsError as error:
        if path.read_text("utf-8") != text:
            raise click.UsageError(f"{path} is the record of something else and is not overwritten") from error


def read(path: Path, kind: str) -> dict[str, Any]:
    """The fields of a "task" or "submission" record of the connected deployment. Errors: UsageError."""
    record = _load(path, kind)
    bounties = _chain.record()["contracts"]["Bounties"]["address"]
    if (record["chain_id"], record["bounties"]) != (ape.chain.chain_id, bounties):
        raise click.UsageError(
            f"{path} is of the contract {record['bounties']} on {record['network']} (chain {record['chain_id']}), "
            f"and --network leads to {bounties} on {_chain.network()} (chain {ape.chain.chain_id})"
        )
    return record


class TaskId(_chain.Word):
    """A task: its id, or the record of it."""

    name = "TASK"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        path = Path(str(value))
        if not isinstance(value, bytes) and path.is_file():
            value = _load(path, "task")["task"]
        return super().convert(value, param, ctx)


def _load(path: Path, kind: str) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = record["record"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path} is no record that `ape run {kind}` wrote: {error}") from error
    if found != kind:
        raise click.UsageError(f"{path} is the record of a {found}, not of a {kind}")
    return record


def beside(record: Path, file: Path) -> str:
    """`file` as a record notes it: relative to the record's folder, so that both can move together."""
    return os.path.relpath(file.resolve(), record.resolve().parent)


def resolve(record: Path, noted: str) -> Path:
    """The file that a record notes."""
    return record.resolve().parent / noted
