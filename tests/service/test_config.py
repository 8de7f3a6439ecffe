"""The configuration file: its defaults, its overrides, and the messages about wrong settings."""

import re
from importlib.resources import files
from pathlib import Path

import pytest

from verifier.service.config import Config, load_config
from verifier.service.errors import Stop

MINIMAL = """
data = "data"
[chain]
rpc_url = "http://127.0.0.1:8545"
chain_id = 31337
bounties = "0x00000000000000000000000000000000000000aa"
[operator]
seed_file = "seed"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "service.toml"
    path.write_text(MINIMAL)
    return path


def test_load__minimal_file__fills_in_defaults_and_resolves_paths(file: Path) -> None:
    config = load_config(file, {})
    assert config.data == file.parent / "data"
    assert config.operator.seed_file == file.parent / "seed"
    assert config.chain.bounties == "0x00000000000000000000000000000000000000AA"
    assert config.sandbox.attempts == 3


def test_load__example_file__loads_and_explains_every_setting_with_its_default(tmp_path: Path) -> None:
    text = files("verifier.service").joinpath("example.toml").read_text("utf-8")
    (tmp_path / "example.toml").write_text(text)
    config = load_config(tmp_path / "example.toml", {})
    # Every setting that is commented out shows its default: uncommenting all of them changes nothing.
    (tmp_path / "all.toml").write_text(re.sub(r"^# (\w+ = (?!\"…\"|\"0x…\").*)$", r"\1", text, flags=re.MULTILINE))
    assert load_config(tmp_path / "all.toml", {}) == config
    explained = set(re.findall(r"^(?:# )?(\w+) = ", text, flags=re.MULTILINE))
    sections = [model.annotation for model in Config.model_fields.values() if hasattr(model.annotation, "model_fields")]
    assert explained == {"data"} | {name for section in sections for name in section.model_fields}


def test_load__environment__overrides_the_file(file: Path) -> None:
    environment = {
        "TOUCHSTONE_RPC_URL": "http://node:1",
        "TOUCHSTONE_KEYSTORE": "/keys/operator.json",
        "TOUCHSTONE_PASSWORD_FILE": "/keys/password",
    }
    config = load_config(file, environment)
    assert config.chain.rpc_url == "http://node:1"
    assert config.operator.keystore == Path("/keys/operator.json")
    assert config.operator.password_file == Path("/keys/password")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("speed = 3", "speed: there is no such setting; remove it or correct its name"),
        ("[health]\nport = 70000", r"health\.port: input should be less than or equal to 65535 \(now 70000\)"),
        ("[chain]", "is not valid TOML"),
        (
            "[mirror]\nrequests_per_minute = 0",
            r"mirror\.requests_per_minute: input should be greater than or equal to 1 \(now 0\)",
        ),
    ],
)
def test_load__wrong_line__names_it(file: Path, line: str, problem: str) -> None:
    file.write_text(line + "\n" + MINIMAL if "=" in line and "[" not in line else MINIMAL + line)
    with pytest.raises(Stop, match=problem):
        load_config(file, {})


def test_load__address_is_not_valid__says_how_to_write_one(file: Path) -> None:
    file.write_text(MINIMAL.replace("aa", "zz"))
    with pytest.raises(
        Stop, match=r"chain\.bounties: not an address: write 0x and 40 hexadecimal digits \(now '0x0+zz'\)"
    ):
        load_config(file, {})


def test_load__setting_left_out__is_named(file: Path) -> None:
    file.write_text(MINIMAL.replace("chain_id = 31337\n", ""))
    with pytest.raises(Stop, match=r"chain\.chain_id: missing; add it$"):
        load_config(file, {})


def test_load__missing_file__stops(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="cannot read the configuration"):
        load_config(tmp_path / "none.toml", {})
