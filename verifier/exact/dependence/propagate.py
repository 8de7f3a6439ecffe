"""One pass over a program: from the sources at its inputs to what influences each element of its outputs."""

from __future__ import annotations

from collections.abc import Mapping

from verifier.exact.dependence.cells import Cells
from verifier.exact.dependence.facts import ElementFacts, Lanes
from verifier.exact.dependence.intervals import Interval
from verifier.exact.dependence.rules import InfluenceSite, influence
from verifier.exact.program.proof import Program

# Largest number of cells that all passes of a question compute, about 40 s of work, and that a pass holds at a time,
# 1 GiB. From there on each tensor gets one cell, so that a hostile program cannot take more.
MAX_COMPUTED = 2**34
MAX_HELD = 2**27


def propagate(
    program: Program, inputs: Mapping[str, ElementFacts], planes: int, passes: int, lanes: Lanes | None = None
) -> dict[str, tuple[Cells, ...]]:
    """Return the planes of each output, in cells of its shape.

    `inputs` are the facts about inputs in which there are sources, and `planes` is the number of planes of each.
    `passes` is the number of passes that share MAX_COMPUTED. `lanes` tells how sources are numbered where a mask is
    assumed.
    """
    known = {
        item.name: inputs.get(item.name)
        or ElementFacts.unmoved(item.shape, Interval.of(program.values[item.name]), planes)
        for item in program.inputs
    }
    kept = {item.name for item in program.outputs}
    sizes = {name: facts.size for name, facts in known.items()}
    computed, held = 0, sum(sizes.values())

    def facts_of(name: str) -> ElementFacts:
        if name not in known:
            value = program.values[name]
            return ElementFacts.unmoved(value.shape, Interval.of(value), planes)
        return known[name]

    for position, instruction in enumerate(program.live_instructions):
        names = [name for name in instruction.inputs if name]
        results = [program.values[name] for name in instruction.outputs]
        site = InfluenceSite(
            instruction=instruction,
            values=[program.values[name] for name in names],
            facts=[facts_of(name) for name in names],
            lists=[program.values[name].constant if name else None for name in instruction.inputs],
            results=results,
            lanes=lanes,
        )
        for value, facts in zip(results, influence(site), strict=True):
            if computed > MAX_COMPUTED // passes or held > MAX_HELD:
                facts = facts.single()
            known[value.name], sizes[value.name] = facts, facts.size
            computed, held = computed + facts.size, held + facts.size
        for name in {*names, *instruction.outputs} - kept:
            if name in known and program.last_use.get(name, position) <= position:
                del known[name]
                held -= sizes.pop(name)
    return {item.name: facts_of(item.name).settled(item.shape).planes for item in program.outputs}
