"""Networks trained on handwritten digits: the exact program predicts the same classes as the float model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from tests.lowering.architectures import Architecture, exported
from verifier.exact import Engine, load_program, reference
from verifier.exact.analysis.compare import float_session
from verifier.exact.lowering import InputSpec, lower

Array = np.ndarray[Any, Any]

BATCH = 100
# Number of the 1,797 images that train the networks; the others are held out. The first of them also calibrate.
TRAINED = 1000
CALIBRATED = 200
# A pixel is a multiple of 1/16.
PIXEL_GRID = -4
EPOCHS = 50


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Images [1797, 1, 8, 8] with pixels from 0 to 1, and the digits that they show [1797], in random order."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    images = np.ldexp(found.images[order, None], PIXEL_GRID)
    return images.astype(np.float32), found.target[order].astype(np.int64)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 10),
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.GELU(), nn.LayerNorm(48), nn.Linear(48, 10))


def trained(model: nn.Module, images: Array, labels: Array) -> nn.Module:
    """Train a network for EPOCHS epochs with Adam, which takes some seconds."""
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(EPOCHS):
        for start in range(0, len(x), BATCH):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(x[start : start + BATCH]), y[start : start + BATCH]).backward()
            optimiser.step()
    return model.eval()


def classes(run: Callable[[Array], Array], images: Array) -> Array:
    """Return the predicted class of each image; the last batch overlaps the one before, so that it is full."""
    found = np.empty(len(images), np.int64)
    for start in (*range(0, len(images) - BATCH, BATCH), len(images) - BATCH):
        found[start : start + BATCH] = run(images[start : start + BATCH]).argmax(axis=1)
    return found


@pytest.mark.parametrize("build", [cnn, mlp])
def test_lower__network_trained_on_digits__predicts_the_same_class_for_999_in_1000(
    build: Callable[[], nn.Module], digits: tuple[Array, Array]
) -> None:
    images, labels = digits
    torch.manual_seed(1)
    model = trained(build(), images[:TRAINED], labels[:TRAINED])
    float_model = exported(Architecture(model, lambda _: {"x": images[:BATCH]}), dynamo=True)
    calibration = [{"x": images[start : start + BATCH]} for start in range(0, CALIBRATED, BATCH)]
    program = load_program(lower(float_model, calibration, {"x": InputSpec("uint8", PIXEL_GRID)}).SerializeToString())
    engine, session = Engine(program), float_session(float_model, 1)

    def pixels(batch: Array) -> dict[str, Array]:
        return {"x": np.ldexp(batch, -PIXEL_GRID).astype(np.uint8)}

    exact = classes(lambda batch: engine.run(pixels(batch))["result"], images)
    real = classes(lambda batch: session.run(None, {"x": batch})[0], images)
    same = exact == real
    assert same[CALIBRATED:].size == 1597
    assert same[CALIBRATED:].mean() >= 0.999
    assert same[TRAINED:].mean() >= 0.999
    assert (exact[TRAINED:] == labels[TRAINED:]).mean() >= 0.95  # the network has learned digits
    last = pixels(images[-BATCH:])
    np.testing.assert_array_equal(reference.run(program, last)["result"], engine.run(last)["result"])
