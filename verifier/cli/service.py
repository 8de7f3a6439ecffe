"""Commands of an operator: `touchstone preflight` examines a configuration, `touchstone run` runs the service."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_CONFIG = click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="The service's TOML file.",
)


@click.command()
@_CONFIG
def preflight(config_file: Path) -> None:
    """Examine a configuration and this machine before staking on them.

    Checks seed, key, disk, self-test, node and contracts, gas balance and stake. Prints one line per check, `ok` or
    `FAIL` with the reason. Exit status 1 when any check fails.
    """
    from verifier.service.config import load_config
    from verifier.service.preflight import preflight as examine

    checks = examine(load_config(config_file))
    for check in checks:
        mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark} {check.name:<10} {check.detail}")
    if not all(check.ok for check in checks):
        sys.exit(1)


@click.command()
@_CONFIG
def run(config_file: Path) -> None:
    """Run the verifier service until SIGTERM or SIGINT.

    Without operator.keystore it is a dry run: the service does everything except sign and send transactions.
    """
    from verifier.service.config import load_config
    from verifier.service.logs import configure
    from verifier.service.run import run as run_service

    config = load_config(config_file)
    run_service(config, configure(config.log.format, config.log.level))
