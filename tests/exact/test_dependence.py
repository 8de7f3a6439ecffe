"""What the analysis says to be independent never changes; random programs and flipped inputs search for a mistake."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.exact.programs import KINDS, STEPS, GrowingProgram, Step, feeds_of, random_program
from verifier.exact import Program, load_program, reference
from verifier.exact.dependence import Reach, inputs_of_outputs, reach, reach_of_padding
from verifier.exact.lowering.builder import Builder
from verifier.exact.program.instructions import REGISTRY

# How often each instruction was in a program, and how often the analysis was right about an element: "moved" and said
# to be dependent, "still" and said to be independent.
SEEN: Counter[str] = Counter()
Feeds = dict[str, np.ndarray[Any, Any]]


def changed(program: Program, before: Feeds, after: Feeds) -> dict[str, np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which elements of each output differ."""
    old, new = reference.run(program, before), reference.run(program, after)
    return {name: old[name] != new[name] for name in old}


def flipped(feeds: Feeds, name: str, where: tuple[Any, ...], rng: np.random.Generator) -> Feeds:
    """Other numbers at some elements of an input: extremes, or any."""
    array = feeds[name].copy()
    limits = np.iinfo(array.dtype)
    part = array[where]
    extremes = rng.choice(np.array([limits.min, limits.max, 0, 1], array.dtype), part.shape)
    array[where] = np.where(
        rng.random(part.shape) < 0.6, extremes, rng.integers(limits.min, limits.max, part.shape, array.dtype, True)
    )
    return {**feeds, name: array}


def assert_sound(found: dict[str, Reach], moved: dict[str, np.ndarray[Any, Any]], position: int, what: str) -> None:
    for output, differs in moved.items():
        said = np.broadcast_to(found[output].cells[..., position], differs.shape)
        assert not (differs & ~said).any(), (what, output, position)
        SEEN["moved"] += int(differs.any())
        SEEN["still"] += int((~said).any())


@settings(max_examples=120, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(number=st.integers(0, 2**20), steps=STEPS)
def check_random_programs(number: int, steps: list[Step]) -> None:
    model = random_program(number, steps)
    program, rng = load_program(model.SerializeToString()), np.random.default_rng(number)
    SEEN.update(item.op for item in program.instructions)
    dependent = inputs_of_outputs(program)
    feeds = feeds_of(model, number)
    for item in program.inputs:
        for axis, length in enumerate(item.shape):
            found = reach(program, item.name, axis)
            for before in (feeds[0], feeds[3], feeds[5]):
                position = int(rng.integers(length))
                where = (*(slice(None),) * axis, position)
                moved = changed(program, before, flipped(before, item.name, where, rng))
                assert_sound(found, moved, position, item.name)
                for output, differs in moved.items():
                    assert item.name in dependent[output] or not differs.any()


def test_reach__random_programs_and_flips__what_changes_was_said_to_depend() -> None:
    SEEN.clear()
    check_random_programs()
    assert set(REGISTRY) <= set(SEEN), set(REGISTRY) - set(SEEN)
    assert min(SEEN["moved"], SEEN["still"]) > 300, SEEN


class MaskedProgram(GrowingProgram):
    """A random program of two rows of three tokens with a mask, and of tensors that are masked in several ways."""

    def __init__(self, seed: int) -> None:
        choose = random.Random(seed)
        self.builder = Builder()
        build = self.builder
        x, m, y = (build.input(name, "int8", (2, 3)) for name in ("x0", "x1", "x2"))
        tokens, other, mask = (build.cast(value, "float64") for value in (x, y, m))
        seen = build.clipped(mask, 0, 1)
        hidden = build.op(
            "Mul", build.op("Sub", build.constant(np.float64(1)), seen), build.constant(np.float64(-4096))
        )
        self.pool = [tokens, other, seen, hidden, build.op("Mul", tokens, seen), build.op("Add", tokens, hidden)]
        self.pool += [build.op("Greater", mask, build.constant(np.float64(0)))]
        pairs = [build.reshape(value, shape) for value, shape in ((tokens, (2, 3, 1)), (other, (2, 1, 3)))]
        scores = build.op("Add", build.op("MatMul", *pairs), build.reshape(hidden, (2, 1, 3)))
        for value in (build.reshape(tokens, (2, 3, 1)), scores, *self.attention(build, scores)):
            self.pool.append(value)
        choose.shuffle(self.pool)

    @staticmethod
    def attention(build: Builder, scores: Any) -> list[Any]:
        """A softmax of scores that are clipped or not, of which masked ones may or may not get a weight of 0."""
        last = build.constant(np.array([2], np.int64))
        made = []
        for limit in (2**7, 2**10, 2**14):
            x = build.op("Max", scores, build.constant(np.float64(-limit)))
            distance = build.op("Sub", build.op("ReduceMax", x, last, keepdims=1), x)
            index = build.op("Clip", distance, build.constant(np.float64(0)), build.constant(np.float64(100)))
            table = np.append(np.arange(100, 0, -1), 0).astype(np.float64)
            weights = build.lookup(build.constant(table), index)
            total = build.op("Max", build.op("ReduceSum", weights, last, keepdims=1), build.constant(np.float64(1)))
            made += [weights, build.quotient(build.scale(weights, 10), total)]
        return made


@settings(max_examples=150, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    number=st.integers(0, 2**20),
    steps=st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(0, 2**32)), max_size=10),
)
def check_masked_programs(number: int, steps: list[Step]) -> None:
    grown = MaskedProgram(number)
    for kind, choice in steps:
        grown.grow(kind, choice)
    model = grown.model()
    program, rng = load_program(model.SerializeToString()), np.random.default_rng(number)
    if {"x0", "x1"} - {item.name for item in program.inputs}:
        return
    found = reach_of_padding(program, "x0", "x1")
    for before in feeds_of(model, number):
        for row in range(2):
            position = int(rng.integers(3))
            before["x1"][:, 0] = 1
            if position:
                before["x1"][row, position] = 0
            moved = changed(program, before, flipped(before, "x0", (slice(row, row + 1), position), rng))
            assert_sound(found, moved, position, "x0")


def test_reach_of_padding__random_masked_programs_and_flips__what_changes_was_said_to_depend() -> None:
    SEEN.clear()
    check_masked_programs()
    assert min(SEEN["moved"], SEEN["still"]) > 300, SEEN
