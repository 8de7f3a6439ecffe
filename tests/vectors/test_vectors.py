"""The literal vectors are what tests.vectors writes, cover every operator, and hold for both implementations."""

import numpy as np
import pytest

from tests.vectors.write import FOLDER, rendered
from verifier.artifacts.evidence import outputs_digest
from verifier.exact import Engine, load_program, reference
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.vectors import Vector, load_vectors

VECTORS = load_vectors()


def test_files__written_anew__are_unchanged() -> None:
    texts = rendered()
    assert {path.name for path in FOLDER.glob("*.json")} == set(texts)
    for name, text in texts.items():
        assert (FOLDER / name).read_text("utf-8") == text, f"{name}: run python -m tests.vectors.write"


def test_vectors__all_together__use_every_operator() -> None:
    assert {node[0] for vector in VECTORS for node in vector.raw["nodes"]} == set(REGISTRY)
    assert len({vector.name for vector in VECTORS}) == len(VECTORS)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector__on_reference_and_onnxruntime__gives_the_literal_integers(vector: Vector) -> None:
    program = load_program(vector.model())
    assert {item.name: item.grid for item in program.outputs} == vector.grids()
    expected = vector.expected()
    outputs = {
        "reference": reference.run(program, vector.feeds()),
        "one thread": Engine(program).run(vector.feeds()),
        "two threads": Engine(program, threads=2).run(vector.feeds()),
    }
    for who, found in outputs.items():
        for name, q in expected.items():
            assert found[name].shape == q.shape, (who, name)
            np.testing.assert_array_equal(found[name], q, err_msg=f"{who}, {name}")
        assert outputs_digest(found.values()) == outputs_digest(expected.values())
    for item in program.outputs:
        low, high = program.interval(item.name)
        assert low <= expected[item.name].min() <= expected[item.name].max() <= high


def test_vectors__each_family__reaches_the_edge_of_53_bits() -> None:
    reached = {
        vector.name.split("/")[0]
        for vector in VECTORS
        for tensor in vector.raw["outputs"].values()
        if tensor["dtype"] == "float64" and any(abs(q) == 2**53 for q in tensor["values"])
    }
    assert reached >= {"add", "casts", "floor_div", "lookup", "matmul", "mul", "reduce", "rounding", "select", "views"}
