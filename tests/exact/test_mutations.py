"""A proven graph with one change is proven again or refused, and never accepted while it is inexact."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from tests.exact import oracle
from tests.exact.graphs import constant, stock_run
from tests.exact.programs import STEPS, Step, feeds_of, random_program
from verifier.exact import Engine, NotExactError, load_program
from verifier.exact.program.instructions import REGISTRY, InstructionSite, products, site
from verifier.exact.program.parse import PROTO_OF
from verifier.exact.program.values import Value

# Every change must be accepted and refused at least this often. What a seed gives depends on the loaded modules, so
# batches of mutants are drawn until then, up to a maximum.
MIN_OCCURRENCES = 3
MAX_BATCHES = 6


def change_constant(model: onnx.ModelProto, choose: random.Random) -> None:
    """Change one number to a larger or smaller one, an extreme, or a neighbour."""
    tensor = choose.choice(model.graph.initializer)
    array = np.array(numpy_helper.to_array(tensor))
    if array.size == 0:
        return
    place = choose.randrange(array.size)
    if array.dtype == np.bool_:
        array.flat[place] ^= True
    elif array.dtype == np.float64:
        old = float(array.flat[place])
        array.flat[place] = choose.choice(
            (old + 1, old * 2, -old, old / 2, old * 2**20, old + 2.0**-9, 2.0**53, 0.0, 0.1)
        )
    else:
        limits = np.iinfo(array.dtype)
        old = int(array.flat[place])
        new = choose.choice((old + 1, old - 1, -old, old * 2, limits.min, limits.max, 0))
        array.flat[place] = max(limits.min, min(limits.max, new))
    tensor.CopyFrom(constant(tensor.name, array))


def change_dtype_or_shape_of_constant(model: onnx.ModelProto, choose: random.Random) -> None:
    tensor = choose.choice(model.graph.initializer)
    array = np.array(numpy_helper.to_array(tensor))
    if choose.random() < 0.5:
        with np.errstate(invalid="ignore"):
            array = array.astype(choose.choice(("int8", "int16", "int32", "int64", "float64")))
    else:
        array = array.reshape(choose.choice(((-1,), (1, -1), (-1, 1), array.shape[::-1])))
    tensor.CopyFrom(constant(tensor.name, array))


def change_operator(model: onnx.ModelProto, choose: random.Random) -> None:
    choose.choice(model.graph.node).op_type = choose.choice(sorted(REGISTRY))


def change_operand(model: onnx.ModelProto, choose: random.Random) -> None:
    """Let a node read another tensor, or leave its operand out."""
    node = choose.choice(model.graph.node)
    known = [item.name for item in (*model.graph.input, *model.graph.initializer)]
    known += [name for other in model.graph.node for name in other.output]
    node.input[choose.randrange(len(node.input))] = choose.choice([*known, ""])


def change_shape(model: onnx.ModelProto, choose: random.Random) -> None:
    dims = choose.choice(model.graph.input).type.tensor_type.shape.dim
    if dims and choose.random() < 0.7:
        choose.choice(dims).dim_value = choose.choice((1, 2, 3, 5))
    else:
        dims.add().dim_value = choose.choice((1, 2))


def change_input_dtype(model: onnx.ModelProto, choose: random.Random) -> None:
    dtype = choose.choice(("int8", "uint8", "int16", "int32", "int64"))
    choose.choice(model.graph.input).type.tensor_type.elem_type = PROTO_OF[dtype]


def change_attribute(model: onnx.ModelProto, choose: random.Random) -> None:
    node = choose.choice(model.graph.node)
    name = choose.choice(("axis", "keepdims", "to", "perm", "allowzero", "noop_with_empty_axes", "num_outputs"))
    kept = [item for item in node.attribute if item.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
    value: Any = choose.choice((-1, 0, 1, 2, 7, 11, 9))
    if name == "perm":
        value = choose.sample(range(3), 3)
    if choose.random() < 0.8:
        node.attribute.append(helper.make_attribute(name, value))


def drop_node(model: onnx.ModelProto, choose: random.Random) -> None:
    """Remove a node, for example a clip, round or cast: its readers read its operand."""
    node = choose.choice(model.graph.node)
    for other in model.graph.node:
        for index, name in enumerate(other.input):
            if name == node.output[0]:
                other.input[index] = node.input[0]


CHANGES = [
    change_constant,
    change_dtype_or_shape_of_constant,
    change_operator,
    change_operand,
    change_shape,
    change_input_dtype,
    change_attribute,
    drop_node,
]


def inexact_anywhere(model: onnx.ModelProto, number: int) -> str | None:
    """Describe an output of an accepted graph that the proof, the engine or stock onnxruntime gets wrong; else None."""
    data = model.SerializeToString()
    program = load_program(data)
    engine = Engine(program)
    for feeds in feeds_of(model, number):
        truth = oracle.evaluate(model, feeds)
        outputs = engine.run(feeds)
        for item, plain in zip(program.outputs, stock_run(data, feeds), strict=True):
            low, high = program.interval(item.name)
            unit = Fraction(2) ** item.grid
            real = truth[item.name]
            if real.shape != item.shape or plain.shape != item.shape:
                return f"{item.name}: shape {item.shape}, onnxruntime {plain.shape}, {real.shape} is right"
            if not all(low * unit <= value <= high * unit for value in real.ravel().tolist()):
                return f"{item.name}: outside {low} to {high}"
            if not np.all(oracle.rational(plain) == real):
                return f"{item.name}: onnxruntime computes {plain}, {real} is right"
            if not np.all(outputs[item.name].astype(object) * unit == real):
                return f"{item.name}: the engine computes {outputs[item.name]}, {real} is right"
    return None


def mutants(batch: int, count: int, first_fault: bool = False) -> tuple[Counter[str], list[str]]:
    """Count accepted and refused mutants by change, and describe the faults of the accepted ones, or the first fault.

    `batch` is the seed of the random draws.
    """
    fates: Counter[str] = Counter()
    wrong: list[str] = []

    @seed(batch)
    @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(number=st.integers(0, 2**20), steps=STEPS, changes=st.lists(st.integers(0, 2**32), min_size=6, max_size=6))
    def mutate(number: int, steps: list[Step], changes: list[int]) -> None:
        if first_fault and wrong:
            return
        original = random_program(number, steps)
        for change in changes:
            choose = random.Random(change)
            mutation = choose.choice(CHANGES)
            mutant = onnx.ModelProto()
            mutant.CopyFrom(original)
            try:
                mutation(mutant, choose)
            except ValueError:  # a shape that this array cannot take
                continue
            for output in mutant.graph.output:
                output.ClearField("type")  # otherwise most mutants are refused because a stated type is no longer right
            try:
                fault = inexact_anywhere(mutant, number)
            except NotExactError:
                fates[f"{mutation.__name__} refused"] += 1
                continue
            fates[f"{mutation.__name__} accepted"] += 1
            if fault is not None:
                wrong.append(f"{mutation.__name__}: {fault}")

    mutate()
    return fates, wrong


def test_mutated_graph__one_thing_changed__is_proven_or_refused() -> None:
    fates: Counter[str] = Counter()
    sides = {f"{change.__name__} {side}" for change in CHANGES for side in ("accepted", "refused")}
    for batch in range(MAX_BATCHES):
        found, wrong = mutants(batch, 100)
        assert wrong == []
        fates.update(found)
        if all(fates[side] >= MIN_OCCURRENCES for side in sides):
            break
    # Every change is sometimes accepted and sometimes refused.
    assert all(fates[side] >= MIN_OCCURRENCES for side in sides), fates


def mul_of_two_corners(patch: pytest.MonkeyPatch) -> None:
    """Install an interval rule that forgets the products of unlike signs."""
    right = REGISTRY["Mul"]

    def infer(at: InstructionSite) -> list[Value]:
        a, b = at.arguments(2)
        corners = (a.lo * b.lo, a.hi * b.hi)
        return [replace(right.infer(at)[0], lo=min(corners), hi=max(corners))]

    patch.setitem(REGISTRY, "Mul", replace(right, infer=infer))


WEAKENED: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "any width instead of 53 bits": lambda patch: patch.setattr(site, "MAX_STEPS", 2**120),
    "products bounded by nothing": lambda patch: patch.setattr(products, "_absolute_sum", lambda *_: 0),
    "two corners of a product": mul_of_two_corners,
}


@pytest.mark.parametrize("weakness", WEAKENED)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_mutated_graph__weakened_check__is_caught(weakness: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail: it does when the proof accepts too much."""
    WEAKENED[weakness](monkeypatch)
    assert any(mutants(batch, 100, first_fault=True)[1] for batch in range(MAX_BATCHES))
