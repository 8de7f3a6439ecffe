"""Every form of every instruction gives the reference's integers on the engine, with and without bytes, and on stock
onnxruntime.

Each instruction is tested in PROGRAMS programs that are proven. `VARIANTS=2000 pytest tests/exact/test_variants.py`
tests that many of each, and other ones than the default number does.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import onnx
import pytest

from tests.exact.graphs import stock_run
from tests.exact.programs import feeds_of
from tests.exact.variants import FORMS, variant
from verifier.exact import Engine, NotExactError, Program, load_program, reference
from verifier.exact.program.instructions import REGISTRY
from verifier.exact.program.values import FLOAT
from verifier.exact.runtime import byte_emission
from verifier.exact.runtime.byte_products import Shape
from verifier.exact.runtime.column_scales import scaled_products
from verifier.exact.runtime.emission import emit, never

PROGRAMS = int(os.environ.get("VARIANTS", "60"))


@pytest.fixture(autouse=True)
def bytes_for_small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute products of any size in bytes, in blocks of a few columns."""
    monkeypatch.setattr(byte_emission, "MIN_MULTIPLICATIONS", 1)
    monkeypatch.setattr(byte_emission, "MAX_BLOCK_ELEMENTS", 6)


def always(shape: Shape) -> bool:
    return True


def uses_bytes(program: Program) -> bool:
    """Whether some product of a program is emitted in bytes."""
    return any(node.op_type == "MatMulInteger" for node in emit(program, always)[0].graph.node)


def check_run(model: onnx.ModelProto, program: Program, seed: int) -> None:
    """Check that all implementations return the same integers, within the proven intervals."""
    file = model.SerializeToString()
    engines = [Engine(program, bytes_exact=never)] + ([Engine(program)] if uses_bytes(program) else [])
    for feeds in feeds_of(model, seed):
        traced = reference.trace(program, feeds)
        for name, q in traced.items():
            low, high = program.interval(name)
            assert program.values[name].unrounded or (low <= q.min() and q.max() <= high), name
        for engine in engines:
            for name, found in engine.run(feeds).items():
                assert found.shape == traced[name].shape
                np.testing.assert_array_equal(found, traced[name], err_msg=name)
        for item, found in zip(program.outputs, stock_run(file, feeds), strict=True):
            q = np.ldexp(found, -item.grid) if item.dtype == FLOAT else found
            assert (str(found.dtype), found.shape) == (item.dtype, item.shape)
            np.testing.assert_array_equal(q, traced[item.name], err_msg=item.name)


def test_variants__have_forms_of_every_instruction() -> None:
    assert set(FORMS) == set(REGISTRY)


@pytest.mark.parametrize("op", sorted(REGISTRY))
def test_variants__of_an_instruction__give_the_references_integers_everywhere(op: str) -> None:
    proven = 0
    for number in range(4 * PROGRAMS):
        model = variant(op, number)
        if model is None:
            continue
        try:
            program = load_program(model.SerializeToString())
        except NotExactError:  # a quotient that two nodes read, for example
            continue
        assert program.instruction_counts[op]
        try:
            check_run(model, program, number)
        except Exception as error:
            error.add_note(f"variant({op!r}, {number}):\n{onnx.printer.to_text(model)}")
            raise
        proven += 1
        if proven == PROGRAMS:
            break
    assert proven == PROGRAMS


def test_variants__of_products__take_every_form_of_the_engine() -> None:
    """Scales of columns, products in bytes, and both together occur, and so do products with neither."""
    forms: Counter[tuple[bool, bool]] = Counter()
    for number in range(200):
        model = variant("MatMul", number)
        if model is not None:
            program = load_program(model.SerializeToString())
            forms[bool(scaled_products(program)), uses_bytes(program)] += 1
    assert len(forms) == 4
    assert min(forms.values()) >= 5, forms
