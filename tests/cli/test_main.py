"""What the command line prints and returns when a command fails."""

import sys
from pathlib import Path

import pytest

from verifier.cli.main import main


def test_main__expected_error__is_one_line_and_exit_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two\nlines"
    folder.mkdir()
    plain, taken = folder / "plain", folder / "taken"
    plain.write_bytes(b"plain")
    taken.touch()
    arguments = ["seal", str(plain), "--out", str(taken), "--key", str(folder / "key")]
    monkeypatch.setattr(sys, "argv", ["touchstone", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = str(taken).replace("\n", " ")
    message = f"error: {shown} exists and is not overwritten: choose another name, or move it away\n"
    assert capsys.readouterr() == ("", message)


def test_main__unknown_command__is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["touchstone", "mine"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("Error: No such command 'mine'.\n")


def test_main__folder_that_cannot_be_written__is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    target = tmp_path / "file" / "folder"
    words = ["publish", str(tmp_path / "file"), "--to", str(target), "--url", "https://files.example"]
    monkeypatch.setattr(sys, "argv", ["touchstone", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == f"error: cannot publish to {target}: Not a directory\n"
