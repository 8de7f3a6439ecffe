"""`touchstone preflight` as an operator types it, on a machine without a chain."""

from pathlib import Path

from click.testing import CliRunner

from verifier.cli.main import cli


def test_preflight__no_node_and_no_seed__prints_every_finding(tmp_path: Path) -> None:
    config = tmp_path / "service.toml"
    config.write_text(
        'data = "data"\n[chain]\nrpc_url = "http://127.0.0.1:9"\nchain_id = 31337\n'
        'bounties = "0x00000000000000000000000000000000000000aa"\n[operator]\nseed_file = "seed"\n'
    )
    result = CliRunner().invoke(cli, ["preflight", "--config", str(config)])
    assert result.exit_code == 1
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [(line[0], line[1]) for line in lines] == [
        ("FAIL", "seed"),
        ("ok", "key"),
        ("ok", "store"),
        ("ok", "self-test"),
        ("FAIL", "chain"),
    ]
