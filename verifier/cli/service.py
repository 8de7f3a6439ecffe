"""`touchstone run --config FILE`: the verifier service; and the preflight behind `touchstone check --config FILE`."""

from __future__ import annotations

from pathlib import Path

import click

CONFIG = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--config", "config_file", type=CONFIG, required=True, help="The service's TOML file.")
def run(config_file: Path) -> None:
    """Run the verifier service until SIGTERM or SIGINT.

    Without operator.keystore it is a dry run: everything but signing.
    """
    from verifier.service.config import load_config
    from verifier.service.logs import configure
    from verifier.service.run import run as run_service

    config = load_config(config_file)
    run_service(config, configure(config.log.format, config.log.level))


def preflight(config_file: Path) -> bool:
    """Print every check of the configuration; returns whether all passed."""
    from verifier.service.config import load_config
    from verifier.service.preflight import preflight as examine

    checks = examine(load_config(config_file))
    for check in checks:
        mark = click.style("ok  ", fg="green") if check.ok else click.style("FAIL", fg="red")
        click.echo(f"{mark} {check.name:<10} {check.detail}")
    return all(check.ok for check in checks)
