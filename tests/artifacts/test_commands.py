"""The artifact commands, run as a user types them."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from verifier.artifacts import sealing
from verifier.artifacts.digests import digest, to_hex
from verifier.artifacts.errors import ArtifactError
from verifier.artifacts.store import Store
from verifier.cli.main import cli

DATA = b"adapter" * 1000
Touchstone = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain").write_bytes(DATA)
    return tmp_path


@pytest.fixture
def touchstone(folder: Path) -> Touchstone:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return run


def test_digest__files__prints_one_line_each(touchstone: Touchstone, folder: Path) -> None:
    (folder / "empty").touch()
    result = touchstone("digest", "plain", "empty")
    assert result.output == f"{to_hex(digest(DATA))}  plain\n{to_hex(digest(b''))}  empty\n"


def test_seal_and_unseal__file__comes_back(touchstone: Touchstone, folder: Path) -> None:
    sealed = json.loads(touchstone("seal", "plain", "--out", "sealed", "--key", "key").output)
    assert sealed == {
        "plain": to_hex(digest(DATA)),
        "sealed": to_hex(digest((folder / "sealed").read_bytes())),
        "size": len(DATA),
        "file": "sealed",
        "key_file": "key",
    }
    key = bytes.fromhex((folder / "key").read_text().strip()[2:])
    assert sealing.unseal(key, (folder / "sealed").read_bytes()) == DATA
    assert stat.S_IMODE(os.stat(folder / "key").st_mode) == 0o600
    unsealed = json.loads(touchstone("unseal", "sealed", "--key", "key", "--out", "back").output)
    assert unsealed == {"plain": sealed["plain"], "sealed": sealed["sealed"], "size": len(DATA), "file": "back"}
    assert (folder / "back").read_bytes() == DATA


def test_unseal__key_in_hex_and_digest__are_used(touchstone: Touchstone, folder: Path) -> None:
    key = sealing.new_key()
    (folder / "sealed").write_bytes(sealing.seal(key, DATA))
    result = touchstone("unseal", "sealed", "--key", to_hex(key), "--out", "back", "--plain", to_hex(digest(DATA)))
    assert result.exit_code == 0
    assert (folder / "back").read_bytes() == DATA


def test_unseal__wrong_key__leaves_nothing(touchstone: Touchstone, folder: Path) -> None:
    (folder / "sealed").write_bytes(sealing.seal(sealing.new_key(), DATA))
    result = touchstone("unseal", "sealed", "--key", "00" * 32, "--out", "back", "--plain", to_hex(digest(DATA)))
    assert isinstance(result.exception, ArtifactError)
    assert f"not {to_hex(digest(DATA))}" in str(result.exception)
    assert not (folder / "back").exists()


@pytest.mark.parametrize("key", ["absent", "plain", "ab" * 31])
def test_unseal__no_key__is_refused(touchstone: Touchstone, key: str) -> None:
    result = touchstone("unseal", "plain", "--key", key, "--out", "back")
    assert str(result.exception) == "--key is neither 64 hexadecimal digits nor a file that holds them"


def test_unseal__no_digest__is_refused(touchstone: Touchstone, folder: Path) -> None:
    result = touchstone("unseal", "plain", "--key", "ab" * 32, "--out", "back", "--plain", "0x12")
    assert (
        str(result.exception) == "--plain: '0x12' is not a digest, which has 64 hexadecimal digits, with or without 0x"
    )
    assert not (folder / "back").exists()


def test_seal__key_file_exists__is_never_overwritten(touchstone: Touchstone, folder: Path) -> None:
    (folder / "key").write_text("precious")
    result = touchstone("seal", "plain", "--out", "sealed", "--key", "key")
    assert str(result.exception) == "key exists and is not overwritten: choose another name, or move it away"
    assert (folder / "key").read_text() == "precious"
    assert not (folder / "sealed").exists()


def test_seal__target_exists__leaves_no_key(touchstone: Touchstone, folder: Path) -> None:
    (folder / "sealed").write_text("precious")
    result = touchstone("seal", "plain", "--out", "sealed", "--key", "key")
    assert str(result.exception) == "sealed exists and is not overwritten: choose another name, or move it away"
    assert (folder / "sealed").read_text() == "precious"
    assert not (folder / "key").exists()


def test_seal__twice__uses_two_keys(touchstone: Touchstone, folder: Path) -> None:
    touchstone("seal", "plain", "--out", "sealed1", "--key", "key1")
    touchstone("seal", "plain", "--out", "sealed2", "--key", "key2")
    assert (folder / "key1").read_text() != (folder / "key2").read_text()


def test_publish__files__are_in_the_folder_under_their_digests(touchstone: Touchstone, folder: Path) -> None:
    result = touchstone("publish", "plain", "--to", "public", "--url", "https://files.example/")
    expected = to_hex(digest(DATA))
    assert json.loads(result.output) == [
        {
            "digest": expected,
            "size": len(DATA),
            "uri": f"https://files.example/artifacts/{expected}",
            "file": "plain",
        }
    ]
    assert Store(folder / "public").get(digest(DATA)) == DATA


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("files.example", "files.example is not the URL of a server, such as https://files.example"),
        ("localhost:8080", "localhost:8080 is not the URL of a server, such as https://files.example"),
        ("ftp://files.example", "ftp://files.example is not the URL of a server, such as https://files.example"),
        ("https://", "https:// is not the URL of a server, such as https://files.example"),
        ("https://files.example:99999", "https://files.example:99999 is not a URL: Port out of range 0-65535"),
        ("https://files.example/?a=1", "https://files.example/?a=1 has more than a scheme, a host, a port and a path"),
        ("https://a:b@files.example", "https://a:b@files.example has more than a scheme, a host, a port and a path"),
    ],
)
def test_publish__url_that_is_not_a_servers__is_refused(
    touchstone: Touchstone, folder: Path, url: str, reason: str
) -> None:
    result = touchstone("publish", "plain", "--to", "public", "--url", url)
    assert result.exit_code == 2
    assert f"Invalid value for --url: {reason}" in result.output
    assert not (folder / "public").exists()


def test_publish__without_a_url__asks_for_it(touchstone: Touchstone) -> None:
    result = touchstone("publish", "plain", "--to", "public")
    assert result.exit_code == 2
    assert "Missing option '--url'" in result.output


SECRETS = {
    "mine.key": (b"\0", "its name is that of a key or password"),
    "holdout.tensors": (b"\0", "it is a part of the holdout that is not sealed"),
    "notes.txt": (b"0x" + b"ab" * 32 + b"\n", "it contains a key"),
    "id": (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "it contains a private key"),
    "wallet.json": (b'{"address": "00", "crypto": {}}', "it is the keystore of an account"),
    "adapter": (
        (10).to_bytes(8, "little") + b'{"w":1}   ' + bytes(9),
        "it is an unsealed tensor file, and not the practice set of a manifest beside it",
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_publish__file_that_looks_secret__is_refused_with_all_others(
    touchstone: Touchstone, folder: Path, name: str
) -> None:
    data, reason = SECRETS[name]
    (folder / name).write_bytes(data)
    command = ("publish", "plain", name, "--to", "public", "--url", "https://files.example")
    result = touchstone(*command)
    assert str(result.exception) == (
        f"nothing is published, because these files look secret: {name}: {reason}. --force publishes them"
    )
    assert not (folder / "public").exists()
    assert touchstone(*command, "--force").exit_code == 0
    assert Store(folder / "public").get(digest(data)) == data


def test_publish__plain_file_of_a_sealing__is_refused_whatever_its_name(touchstone: Touchstone, folder: Path) -> None:
    (folder / "mine.json").write_text(touchstone("seal", "plain", "--out", "sealed", "--key", "key").output)
    result = touchstone("publish", "plain", "--to", "public", "--url", "https://files.example")
    assert "plain: mine.json says that it is the plain content of sealed." in str(result.exception)
    assert touchstone("publish", "sealed", "--to", "public", "--url", "https://files.example").exit_code == 0
