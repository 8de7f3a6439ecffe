"""Deployment records: deployments/<network>.json says what was deployed where, from what, with which parameters.

TOUCHSTONE_DEPLOYMENTS names another folder.
"""

import json
import os
from pathlib import Path
from typing import Any

import click

DISPOSABLE = ("local", "devnet")  # networks that end with their process; their records may be replaced


def path(network: str) -> Path:
    """Where the record of a network lies; `network` is a name as in ape-config.yaml."""
    folder = os.environ.get("TOUCHSTONE_DEPLOYMENTS") or Path(__file__).resolve().parents[1] / "deployments"
    return Path(folder) / f"{network}.json"


def check_free(network: str) -> None:
    """Refuse to deploy over the record of a deployment that may hold money. Errors: UsageError."""
    target = path(network)
    if target.exists() and network not in DISPOSABLE:
        raise click.UsageError(f"{target} already records a deployment on {network}: move it away to deploy another")


def save(network: str, record: dict[str, Any]) -> Path:
    """Write the record of a network and return its path."""
    target = path(network)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return target


def load(network: str) -> dict[str, Any]:
    """Read the record of a network; a usage error says how to make one."""
    target = path(network)
    if not target.exists():
        raise click.UsageError(
            f"nothing is deployed on {network} as far as {target} knows: run `ape run deploy --network …` first"
        )
    record: dict[str, Any] = json.loads(target.read_text(encoding="utf-8"))
    return record


def compiler_version() -> str:
    """The Vyper compiler the artifacts were made with."""
    import vyper

    return f"vyper {vyper.__version__}"
