"""Deployment records: deployments/<network>.json has the addresses, parameters and compiler of a deployment.

The environment variable TOUCHSTONE_DEPLOYMENTS names another folder.
"""

import json
import os
from pathlib import Path
from typing import Any

import click

# Networks that end with their process, so that their records may be replaced.
DISPOSABLE = ("local", "devnet")


def path(network: str) -> Path:
    """Path of the record of a network; `network` is a name in ape-config.yaml."""
    folder = os.environ.get("TOUCHSTONE_DEPLOYMENTS") or Path(__file__).resolve().parents[1] / "deployments"
    return Path(folder) / f"{network}.json"


def check_free(network: str) -> None:
    """Check that a deployment would not replace the record of one that may hold money. Errors: UsageError."""
    target = path(network)
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
    try:
        record: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
        if not {"chain_id", "contracts", "parameters"} <= record.keys():
            raise ValueError("it lacks chain_id, contracts or parameters")
    except (OSError, ValueError, AttributeError) as error:
        raise click.UsageError(f"{target} is not a deployment record that `ape run deploy` wrote: {error}") from error
    return record


def compiler_version() -> str:
    """Name and version of the Vyper compiler."""
    import vyper

    return f"vyper {vyper.__version__}"
