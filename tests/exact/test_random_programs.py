"""Every proven program stays within its intervals, and all implementations agree with rational arithmetic."""

from collections import Counter
from fractions import Fraction

import numpy as np
import onnx
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tests.exact import oracle
from tests.exact.graphs import stock_run
from tests.exact.programs import STEPS, Step, feeds_of, random_program
from verifier.exact import Engine, load_program, reference
from verifier.exact.program.instructions import REGISTRY

USED: Counter[str] = Counter()
# Every operator must be used at least this often. What a seed gives depends on the loaded modules, so that batches of
# programs are drawn until then, up to a maximum.
MIN_USES = 10
MAX_BATCHES = 6


def check_exact(model: onnx.ModelProto, number: int) -> None:
    """Check that a proven program gives the rational result everywhere, inside its intervals."""
    data = model.SerializeToString()
    program = load_program(data)
    USED.update(instruction.op for instruction in program.instructions)
    engine = Engine(program)
    for feeds in feeds_of(model, number):
        truth = oracle.evaluate(model, feeds)
        traced = reference.trace(program, feeds)
        for name, value in program.values.items():
            if not value.unrounded and name in traced:
                low, high = program.interval(name)
                unit = Fraction(2) ** value.grid
                for q, real in zip(traced[name].ravel().tolist(), truth[name].ravel().tolist(), strict=True):
                    assert low <= q <= high, (name, q, low, high)
                    assert q * unit == real, (name, q, real)
        outputs = engine.run(feeds)
        plain = dict(zip(outputs, stock_run(data, feeds), strict=True))
        for item in program.outputs:
            assert outputs[item.name].shape == item.shape == truth[item.name].shape
            np.testing.assert_array_equal(outputs[item.name], traced[item.name], err_msg=item.name)
            assert oracle.same(plain[item.name], truth[item.name]), item.name


def test_random_programs__extreme_inputs__every_implementation_is_exact() -> None:
    for batch in range(MAX_BATCHES):

        @seed(batch)
        @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(number=st.integers(0, 2**20), steps=STEPS)
        def programs(number: int, steps: list[Step]) -> None:
            check_exact(random_program(number, steps), number)

        programs()
        if set(USED) == set(REGISTRY) and min(USED.values()) >= MIN_USES:
            break
    assert set(USED) == set(REGISTRY)
    assert min(USED.values()) >= MIN_USES, USED
