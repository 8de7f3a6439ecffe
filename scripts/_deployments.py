"""Deployment records: deployments/<network>.json says what was deployed where, from what, with which parameters."""

import json
from pathlib import Path
from typing import Any

import click

FOLDER = Path(__file__).resolve().parents[1] / "deployments"


def path(network: str) -> Path:
    """Where the record of a network lies; `network` is a name as in ape-config.yaml."""
    return FOLDER / f"{network}.json"


def save(network: str, record: dict[str, Any]) -> Path:
    """Write the record of a network and return its path."""
    FOLDER.mkdir(exist_ok=True)
    target = path(network)
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
