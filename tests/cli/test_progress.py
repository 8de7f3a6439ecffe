"""The progress of a long command without a terminal."""

import time

import pytest

from verifier.cli import progress


def test_progress__no_terminal__is_a_line_at_each_interval_also_within_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.1)
    with progress.progress_bar() as show:
        show("calibrate", 3, 1200)
        time.sleep(0.5)
        show("prove", 0, 1)
        time.sleep(0.25)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "calibrate: 3 of 1,200 (after 0 s)"
    assert lines.count("calibrate: 3 of 1,200 (after 0 s)") >= 2
    assert lines[-1] in ("prove (after 0 s)", "prove (after 1 s)")


def test_progress__shorter_than_the_interval__prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress_bar() as show:
        show("evaluate", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_working__no_terminal__prints_lines_until_the_step_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_S", 0.1)

    def fail() -> None:
        with progress.working("compiling the contracts"):
            time.sleep(0.25)
            raise ValueError("no")

    with pytest.raises(ValueError, match="^no$"):
        fail()
    assert capsys.readouterr().err.splitlines()[0] == "compiling the contracts (after 0 s)"
    time.sleep(0.2)
    assert capsys.readouterr().err == ""
