"""What `python -m tests.onnx_nodes` prints and writes."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tests.onnx_nodes.judge import Form, Outcome, Result

# A refusal that names the operator at fault: "cannot lower Resize node 'y'", "not exact at Identity node 'y'", and what
# onnxruntime says, "Could not find an implementation for RoiAlign(22) node".
NAMED = re.compile(r"\b([A-Z]\w+)(?:\(\d+\))? node\b")
# The verbs with which a message says what to do.
REMEDIES = frozenset(
    (
        *("cast", "change", "clip", "export", "express", "give", "leave", "let", "lower", "make", "reduce", "remove"),
        *("replace", "scale", "simplify", "split", "subtract", "take", "train", "use", "write"),
    )
)
# A reason of fewer refusals than this is not listed on a line of its own.
MIN_REFUSALS = 5
# Characters of a reason that are shown.
MAX_REASON = 160


def is_complete(detail: str) -> bool:
    """Return whether a refusal names the operator, says why, and ends with what to do."""
    why, _, remedy = detail.partition("': ")[2].rpartition(": ")
    return named_operator(detail) is not None and bool(why) and remedy.split(" ")[0] in REMEDIES


def named_operator(detail: str) -> str | None:
    """Return the operator that a refusal names, or None when it names no operator."""
    found = NAMED.search(detail)
    return found[1] if found else None


def reason(detail: str) -> str:
    """Shorten a refusal's message to what tests of the same cause share: no names, and no list of all operators."""
    text = detail.splitlines()[0]
    text = re.sub(r"'[^']*'", "'…'", text.split(": express it by")[0])
    text = re.sub(r"(--input )\w+=", r"\1NAME=", text)
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table: the outcomes by operator, and their totals."""
    by_operator: dict[str, Counter[Outcome]] = {}
    for result in results:
        by_operator.setdefault(result.operator, Counter())[result.outcome] += 1
    width = max((len(name) for name in by_operator), default=0) + 2
    yield "operator".ljust(width) + "".join(f"{outcome:>14}" for outcome in Outcome)
    for operator, counts in sorted(by_operator.items()):
        yield operator.ljust(width) + _row(counts)
    yield "all".ljust(width) + _row(Counter(result.outcome for result in results))


def _row(counts: Counter[Outcome]) -> str:
    return "".join(f"{counts[outcome] or '-':>14}" for outcome in Outcome)


def findings(results: Sequence[Result]) -> Iterator[str]:
    """Yield lines that name each wrong and each crashed test, and that count the reasons of all others."""
    for outcome in (Outcome.WRONG, Outcome.CRASHED):
        found = [result for result in results if result.outcome == outcome]
        yield f"\n{outcome}: {len(found)}"
        yield from (f"  {item.name} ({item.operator}): {item.detail.splitlines()[0]}" for item in found)
    refused = [result for result in results if result.outcome == Outcome.REFUSED]
    incomplete = [result for result in refused if not is_complete(result.detail)]
    yield f"\nrefused: {len(refused)}, of which {len(incomplete)} messages do not say the operator, why, and what to do"
    yield from (f"  {item.name} ({item.operator}): {item.detail.splitlines()[0]}" for item in incomplete)
    yield from _counted((reason(result.detail) for result in refused), MIN_REFUSALS)
    unfit = [result for result in results if result.outcome == Outcome.UNFIT]
    yield f"\ndoes not fit: {len(unfit)}"
    yield from _counted((result.detail for result in unfit), 1)
    passed = [result for result in results if result.outcome == Outcome.PASS]
    yield f"\npass: {len(passed)}"
    yield from _counted((result.form for result in passed), 1)
    yield f"  of these, {sum(result.infinite > 0 for result in passed)} expect infinities or NaNs, which are left out"


def _counted(reasons: Iterable[str], min_count: int) -> Iterator[str]:
    counts = Counter(reasons)
    yield from (f"{count:6}  {text}" for text, count in counts.most_common() if count >= min_count)
    rest = [count for count in counts.values() if count < min_count]
    if rest:
        yield f"{sum(rest):6}  for {len(rest)} other reasons"


def to_json(results: Sequence[Result]) -> str:
    """Return the totals and each result with its whole message, as JSON."""
    document: dict[str, Any] = {
        "totals": {str(outcome): sum(item.outcome == outcome for item in results) for outcome in Outcome},
        "forms": [str(form) for form in Form],
        "results": [
            dataclasses.asdict(item) | {"reason": reason(item.detail) if item.detail else ""} for item in results
        ],
    }
    return json.dumps(document, indent=1) + "\n"
