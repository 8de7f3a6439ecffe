"""Deployment records: deployments/<network>.json has the addresses, parameters and compiler of a deployment.

The environment variable TOUCHSTONE_DEPLOYMENTS names another folder.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from verifier.protocol.constants import Windows
from verifier.tasks.manifest import problems

# Networks that end with their process, so that their records may be replaced.
DISPOSABLE = ("local", "devnet")


class _Contract(BaseModel):
    model_config = ConfigDict(strict=True)

    address: Annotated[str, Field(pattern="^0x[0-9a-fA-F]{40}$")]
    block: int


class _Contracts(BaseModel):
    Stakes: _Contract
    Panel: _Contract
    Bounties: _Contract


class _Defaults(BaseModel):
    windows: dict[str, int]
    committee: int

    @field_validator("windows")
    @classmethod
    def _check_windows(cls, windows: dict[str, int]) -> dict[str, int]:
        if missing := set(Windows._fields) - windows.keys():
            raise ValueError(f"lacks {', '.join(sorted(missing))}")
        return windows


class _DeploymentRecord(BaseModel):
    """What every script reads of a record; `verify` compares the parameters one by one."""

    chain_id: int
    contracts: _Contracts
    parameters: dict[str, Any]
    defaults: _Defaults | None = None


def path(network: str) -> Path:
    """Path of the record of a network; `network` is a name in ape-config.yaml."""
    folder = os.environ.get("TOUCHSTONE_DEPLOYMENTS") or Path(__file__).resolve().parents[1] / "deployments"
    return Path(folder) / f"{network}.json"


def check_free(network: str) -> None:
    """Check that the record of a deployment can be written, without replacing one of contracts that may hold money.

    Errors: UsageError; OSError when the folder of the records cannot be created.
    """
    target = path(network)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and network not in DISPOSABLE:
        raise click.UsageError(f"{target} already records a deployment on {network}: move the file to deploy again")


def save(network: str, record: dict[str, Any]) -> Path:
    """Write the record of a network; returns its path."""
    target = path(network)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return target


def load(network: str) -> dict[str, Any]:
    """Read the record of a network. Errors: UsageError when there is none, which says how to get one."""
    target = path(network)
    if not target.exists():
        raise click.UsageError(
            f"there is no deployment record {target}: put the record of an existing deployment there, or run "
            f"`ape run deploy --network …` to make a deployment of your own"
        )
    damaged = f"{target} is not a deployment record that `ape run deploy` wrote"
    try:
        record: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        _DeploymentRecord.model_validate(record)
    except ValidationError as error:
        raise click.UsageError(f"{damaged}: {problems(error)}") from error
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{damaged}: {error}") from error
    return record


def compiler_version() -> str:
    """Name and version of the Vyper compiler."""
    import vyper

    return f"vyper {vyper.__version__}"
