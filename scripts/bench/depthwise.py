"""Depthwise convolutions: single layers and two kinds of block, as exact programs and as float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import nn

from scripts.bench import measure
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import Engine, InputSpec, load_program, lower
from verifier.exact.runtime.emission import no_block

Array = np.ndarray[Any, Any]

# The grid of the inputs, which are drawn from a normal distribution: int16 on it reaches ±8.
GRID = -12


@dataclass(frozen=True)
class FloatLayer:
    """One module and the shape of its input."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of each round: `exact` is the engine as it runs here, `products` the engine without convolutions."""

    exact: Array
    products: Array
    floating: Array


class InvertedResidual(nn.Module):
    """The block of MobileNetV2: 1x1, depthwise 3x3, 1x1, with ReLU6 between them, beside the identity."""

    def __init__(self, channels: int, expansion: int = 4) -> None:
        super().__init__()
        wide = channels * expansion
        self.layers = nn.Sequential(
            nn.Conv2d(channels, wide, 1),
            nn.ReLU6(),
            nn.Conv2d(wide, wide, 3, padding=1, groups=wide),
            nn.ReLU6(),
            nn.Conv2d(wide, channels, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The result has the shape of x."""
        result: torch.Tensor = x + self.layers(x)
        return result


class ConvNeXt(nn.Module):
    """The block of ConvNeXt: depthwise 7x7, normalisation, and an MLP on the channels, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.layers = nn.Sequential(
            nn.LayerNorm(channels), nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The result has the shape of x."""
        result: torch.Tensor = x + self.layers(self.depthwise(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return result


def layers() -> list[FloatLayer]:
    """The layers and blocks that are measured, with random weights."""
    torch.manual_seed(0)
    return [
        _layer(16, 112, 3),
        _layer(96, 56, 3, stride=2),
        _layer(256, 14, 3),
        _layer(512, 7, 3),
        _layer(128, 28, 5),
        _layer(96, 56, 7),
        _layer(512, 14, 7),
        FloatLayer("causal 4 of 512 x 64", nn.Conv1d(512, 512, 4, padding=3, groups=512), (1, 512, 64)),
        FloatLayer("MobileNetV2 block of 40 x 28 x 28", InvertedResidual(40), (1, 40, 28, 28)),
        FloatLayer("ConvNeXt block of 96 x 28 x 28", ConvNeXt(96), (1, 96, 28, 28)),
    ]


def _layer(channels: int, size: int, kernel: int, stride: int = 1) -> FloatLayer:
    module = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
    name = f"{kernel}x{kernel} of {channels} x {size} x {size}" + (f", stride {stride}" if stride > 1 else "")
    return FloatLayer(name, module, (1, channels, size, size))


def timed(layer: FloatLayer, threads: int) -> LayerTimes:
    """Export and lower a module, and run both engines and float32 onnxruntime in turn."""
    rng = np.random.default_rng(0)
    x, *samples = (rng.normal(size=layer.shape).astype(np.float32) for _ in range(4))
    model = _exported(layer.module.eval(), x)
    program = load_program(
        lower(model, [{"x": sample} for sample in samples], {"x": InputSpec("int16", grid=GRID)}).SerializeToString()
    )
    feeds = {"x": np.round(np.ldexp(x, -GRID)).astype(np.int16)}
    engine, without = Engine(program, threads), Engine(program, threads, find_block=no_block)
    if outputs_digest(engine.run(feeds).values()) != outputs_digest(without.run(feeds).values()):
        raise SystemExit("convolutions in float32 and products differ on this machine: do not sign verdicts with it")
    session = ort.InferenceSession(model.SerializeToString(), measure.default_options(threads), providers=measure.CPU)
    return LayerTimes(
        *measure.in_turn(
            lambda: engine.run(feeds),
            lambda: without.run(feeds),
            lambda: session.run(None, {"x": x}),
        )
    )


def _exported(module: nn.Module, x: Array) -> onnx.ModelProto:
    exported = torch.onnx.export(
        module,
        (torch.from_numpy(x),),
        dynamo=True,
        opset_version=18,
        input_names=["x"],
        output_names=["y"],
        verbose=False,
    )
    assert exported is not None
    return exported.model_proto
