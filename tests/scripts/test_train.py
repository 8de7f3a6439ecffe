"""The example trainer's command line, before it knows for which task it trains."""

from __future__ import annotations

from click.testing import CliRunner

from scripts import train


def test_help__without_a_task__says_how_to_see_the_other_options() -> None:
    result = CliRunner().invoke(train.main, ["--help"])
    assert result.exit_code == 0
    assert "add --help to --task FILE to see them" in result.output


def test_train__without_a_task__asks_for_its_manifest() -> None:
    result = CliRunner().invoke(train.main, [])
    assert result.exit_code == 2
    assert "Missing option '--task': the manifest of the task to train for." in result.output
