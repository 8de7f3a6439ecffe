"""Whole models from torch's exporters: lowered, proven, close to float32, and of one digest on every engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import onnx
import pytest

from tests.exact.graphs import digest_of_stock_run
from tests.lowering import architectures
from tests.lowering.architectures import ADAPTER_GRIDS, Architecture, Feeds, exported, input_specs
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import DependenceError, Engine, Program, load_program, reference
from verifier.exact.analysis.compare import OutputDistance, Pair, float_session
from verifier.exact.analysis.findings import MAX_ERROR, Inspection, inspected
from verifier.exact.analysis.layer_map import Layer, LayerMap
from verifier.exact.dependence import (
    reach,
    relation,
    require_causal,
    require_padding_ignored,
    require_separate,
)
from verifier.exact.lowering import lower_graph

# Seeds of the feeds that calibrate, and of those that do not.
CALIBRATION, UNSEEN = range(1, 9), range(100, 116)
MODELS: dict[str, Callable[[], Architecture]] = {
    "bert": architectures.bert,
    "llama": architectures.llama,
    "gpt2": architectures.gpt2,
    "mlp": architectures.mlp,
    "cnn": architectures.cnn,
    "qwen3": architectures.qwen3,
    "gemma2": architectures.gemma2,
    "t5": architectures.t5,
    "attention": architectures.attention,
    "roberta": architectures.roberta,
    "modernbert": architectures.modernbert,
    "deberta": architectures.deberta,
    "vit": architectures.vit,
    "convnext": architectures.convnext,
    "mobilenet": architectures.mobilenet,
    "lora": architectures.adapted,
}
# (model, whether torch.export exports it, opset). torch.export takes some seconds for each model; only it can export
# decoders without a mask.
EXPORTS = [
    *((name, True, 18) for name in ("bert", "llama", "gpt2", "mlp", "cnn", "qwen3", "gemma2", "lora")),
    *((name, False, 17) for name in MODELS if name not in ("attention", "qwen3", "gemma2", "lora")),
    # Normalisations, activations and attention, decomposed and as single nodes.
    ("bert", False, 16),
    ("gpt2", False, 11),
    ("bert", True, 20),
    ("llama", True, 23),
    ("attention", True, 23),
]
# The minimum cosine, and the maximum error as a share of the largest output.
BOUND = (0.999998, 1e-3)
BOUNDS = {"mobilenet": (0.9999, 1e-2)}  # its 52 layers of random weights amplify rounding errors
every_export = pytest.mark.parametrize(
    ("name", "dynamo", "opset"),
    EXPORTS,
    ids=[f"{name}, {'torch.export' if dynamo else 'legacy'}, opset {opset}" for name, dynamo, opset in EXPORTS],
)


@dataclass(frozen=True)
class LoweredModel:
    """A float model, a function that draws its feeds, the exact file that was lowered from it, and its layers."""

    float_model: onnx.ModelProto
    draw: Callable[[np.random.Generator], Feeds]
    exact_file: bytes
    layers: Mapping[str, Layer]

    @cached_property
    def program(self) -> Program:
        """The program that the exact file is proven to be."""
        return load_program(self.exact_file)

    @cached_property
    def pair(self) -> Pair:
        """Both models, loaded for comparison."""
        grids = {name: spec.grid for name, spec in input_specs(self.feeds(0)).items()}
        return Pair(self.float_model, self.program, grids)

    def feeds(self, seed: int) -> Feeds:
        """Draw a feed of the float model by a seed."""
        return self.draw(np.random.default_rng(seed))

    def errors(self) -> OutputDistance:
        """Compare both models on feeds that calibration has not seen."""
        (found,) = self.pair.errors([self.feeds(seed) for seed in UNSEEN], lambda *_: None)
        return found

    def inspected(self, feeds: list[Feeds]) -> Inspection:
        """Compare all tensors on these feeds."""
        return inspected(self.float_model, self.program, self.layers, feeds, self.pair.grids, lambda *_: None)

    def max_output(self) -> float:
        """Return the largest magnitude in the float model's outputs."""
        session = float_session(self.float_model, 1)
        return max(float(np.abs(session.run(None, self.feeds(seed))[0]).max()) for seed in UNSEEN)


def lowered(architecture: Architecture, dynamo: bool, opset: int) -> LoweredModel:
    """Export, calibrate and lower a model."""
    float_model = exported(architecture, dynamo, opset)
    feeds = [architecture.draw(np.random.default_rng(seed)) for seed in CALIBRATION]
    specs = input_specs(feeds[0])
    made = lower_graph(float_model, feeds, specs)
    exact = made.builder.model(dict(made.outputs)).SerializeToString()
    layers = LayerMap.of(made, specs, load_program(exact), {}).layers
    return LoweredModel(float_model, architecture.draw, exact, layers)


@cache
def case(name: str, dynamo: bool, opset: int) -> LoweredModel:
    """Return a lowered model, which all tests share."""
    return lowered(MODELS[name](), dynamo, opset)


def operators(name: str, dynamo: bool, opset: int) -> set[str]:
    return {node.op_type for node in case(name, dynamo, opset).float_model.graph.node}


def assert_within_intervals(program: Program, feeds: Feeds) -> None:
    """Assert that each tensor of a run on integers is within its proven interval."""
    for name, q in reference.trace(program, feeds).items():
        lo, hi = program.interval(name)
        assert q.size == 0 or lo <= q.min() <= q.max() <= hi, name


@every_export
def test_lower__architecture__is_close_to_float32_on_unseen_feeds(name: str, dynamo: bool, opset: int) -> None:
    found = case(name, dynamo, opset)
    error, (cosine, share) = found.errors(), BOUNDS.get(name, BOUND)
    assert error.cosine_min is not None
    assert error.argmax_agreement is not None
    assert error.cosine_min >= cosine
    assert error.argmax_agreement >= 0.99
    assert error.max_abs_error <= share * found.max_output()


@every_export
def test_inspect__architecture_on_unseen_feeds__saturates_nowhere_and_no_tensor_is_off(
    name: str, dynamo: bool, opset: int
) -> None:
    found = case(name, dynamo, opset)
    inspection = found.inspected([found.feeds(seed) for seed in UNSEEN[:4]])
    assert list(inspection.warnings()) == []
    assert inspection.compared[0].relative <= 0.003
    assert len(inspection.compared) > 5


@pytest.mark.parametrize("name", ["mlp", "cnn", "vit", "convnext", "mobilenet", "lora"])
def test_inspect__feeds_eight_times_louder__explains_each_output_that_is_off(name: str) -> None:
    found = case(name, name == "lora", 18 if name == "lora" else 17)
    loud = [feed | {"x": 8 * feed["x"]} for feed in map(found.feeds, UNSEEN[:4])]
    inspection = found.inspected(loud)
    (output,) = [item for item in inspection.layers if item.name == "result"]
    assert (output.relative > MAX_ERROR) == (name in ("cnn", "lora"))
    assert bool(inspection.saturated) == (name in ("cnn", "lora"))
    assert any(sentence.startswith("output 'result'") for sentence in inspection.warnings()) == (output.relative > 0.01)


@every_export
def test_run__architecture__has_one_digest_on_engine_reference_and_onnxruntime(
    name: str, dynamo: bool, opset: int
) -> None:
    found = case(name, dynamo, opset)
    engine, grids = Engine(found.program), [output.grid for output in found.program.outputs]
    digests = set()
    for seed in UNSEEN[:2]:
        feeds = found.pair.quantised(found.feeds(seed))
        expected = outputs_digest(reference.run(found.program, feeds).values())
        assert outputs_digest(engine.run(feeds).values()) == expected
        assert digest_of_stock_run(found.exact_file, grids, feeds) == expected
        digests.add(expected)
    assert len(digests) == 2


@every_export
def test_run__architecture_on_extreme_feeds__stays_within_its_intervals(name: str, dynamo: bool, opset: int) -> None:
    program = case(name, dynamo, opset).program
    engine = Engine(program)
    for pattern in ("lowest", "highest", "alternating"):
        feeds = {}
        for item in program.inputs:
            limits = np.iinfo(item.dtype)
            chosen = {"lowest": [limits.min], "highest": [limits.max], "alternating": [limits.max, limits.min, -1]}
            feeds[item.name] = np.resize(chosen[pattern], item.shape).astype(item.dtype)
        assert_within_intervals(program, feeds)
        assert outputs_digest(engine.run(feeds).values()) == outputs_digest(reference.run(program, feeds).values())


def test_export__norms_activations_and_attention__are_decomposed_and_single_nodes() -> None:
    """Ensures that the tests above cover both forms."""
    assert {"Erf", "ReduceMean", "Sqrt"} <= operators("bert", False, 16)
    assert "LayerNormalization" not in operators("bert", False, 16)
    assert "LayerNormalization" in operators("bert", False, 17)
    assert {"LayerNormalization", "Gelu"} <= operators("bert", True, 20)
    assert "RMSNormalization" not in operators("llama", True, 18)
    assert "RMSNormalization" in operators("llama", True, 23)
    assert "Attention" in operators("attention", True, 23)


@pytest.mark.parametrize("build", [architectures.bert, architectures.llama, architectures.gpt2])
def test_lower__model_of_mostly_weights__takes_at_most_55_percent_of_the_float_file(
    build: Callable[..., Architecture],
) -> None:
    found = lowered(build(width=384, vocabulary=8192), dynamo=False, opset=17)
    assert len(found.exact_file) <= 0.55 * found.float_model.ByteSize()
    error = found.errors()
    assert error.cosine_min is not None
    assert error.cosine_min >= BOUND[0]


def test_lower__adapter_as_input__is_proven_for_every_value_of_its_dtype() -> None:
    program = case("lora", True, 18).program
    declared = {item.name: item.dtype for item in program.inputs}
    assert declared == dict.fromkeys(("x", *ADAPTER_GRIDS), "int16")
    real = case("lora", True, 18).pair.quantised(case("lora", True, 18).feeds(UNSEEN[0]))
    engine, rng, digests = Engine(program), np.random.default_rng(0), set()
    limits = np.array([-(2**15), 2**15 - 1])
    # Each tensor alone at a limit beside realistic ones, then all of them, then random signs.
    adapters = [
        *({name: np.full_like(real[name], limit)} for name in ADAPTER_GRIDS for limit in limits),
        *({name: np.full_like(real[name], limit) for name in ADAPTER_GRIDS} for limit in limits),
        *({name: rng.choice(limits, real[name].shape).astype(np.int16) for name in ADAPTER_GRIDS} for _ in range(4)),
    ]
    for adapter in adapters:
        feeds = {**real, **adapter}
        assert_within_intervals(program, feeds)
        expected = outputs_digest(reference.run(program, feeds).values())
        assert outputs_digest(engine.run(feeds).values()) == expected
        digests.add(expected)
    assert len(digests) == len(adapters)


@pytest.mark.parametrize(
    ("name", "dynamo", "opset"),
    [
        ("bert", True, 18),
        ("bert", False, 17),
        ("attention", True, 23),
        ("t5", False, 17),
        ("deberta", False, 17),
    ],
)
def test_reach__encoder_of_an_exporter__ignores_padding_and_other_rows(name: str, dynamo: bool, opset: int) -> None:
    encoder = case(name, dynamo, opset).program
    (output,) = (item.name for item in encoder.outputs)
    require_padding_ignored(encoder, "input_ids", "attention_mask", {output: 1})
    require_separate(encoder, {"input_ids": 0, "attention_mask": 0}, {output: 0})
    assert relation(reach(encoder, "input_ids", 1)[output].along(1)) == "all positions"
    with pytest.raises(DependenceError, match="must not depend on later positions"):
        require_causal(encoder, {"input_ids": 1}, {output: 1})


@pytest.mark.parametrize(
    ("name", "dynamo", "opset", "mask"),
    [
        ("llama", True, 18, "attention_mask"),
        ("llama", False, 17, "attention_mask"),
        ("llama", True, 23, "attention_mask"),
        ("gpt2", True, 18, "attention_mask"),
        ("gpt2", False, 11, "attention_mask"),
        ("qwen3", True, 18, None),
        ("gemma2", True, 18, None),
    ],
)
def test_reach__decoder_of_an_exporter__is_causal(name: str, dynamo: bool, opset: int, mask: str | None) -> None:
    decoder = case(name, dynamo, opset).program
    (output,) = (item.name for item in decoder.outputs)
    require_causal(decoder, {"input_ids": 1}, {output: 1}, unmasked=mask)
    require_separate(decoder, {"input_ids": 0}, {output: 0})
    if mask is not None:
        require_padding_ignored(decoder, "input_ids", mask, {output: 1})
