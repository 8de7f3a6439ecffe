"""`python -m tests.onnx_nodes`: which of ONNX's own operator tests an exact program passes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.onnx_nodes.cases import NodeCase, collect
from tests.onnx_nodes.judge import Outcome, Result
from tests.onnx_nodes.report import findings, is_complete, table, to_json
from tests.onnx_nodes.worker import Worker

# How many tests pass today. Of the 1,884 node tests of onnx 1.23.2, 1,658 fit: 1,349 pass, the others are refused, and
# none is wrong or crashes. Raise it whenever more pass.
MIN_PASS = 1_349


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when any test is wrong, crashed or refused without saying why and what to do, or when too
    few pass, 0 otherwise.
    """
    options = _options(arguments)
    print("onnx computes its tests …", flush=True)
    cases = [case for case in collect() if re.search(options.only, case.name)]
    results = _judge(cases)
    for line in (*table(results), *findings(results)):
        print(line)
    if options.json is not None:
        options.json.write_text(to_json(results))
    counts = {outcome: sum(result.outcome == outcome for result in results) for outcome in Outcome}
    if counts[Outcome.PASS] < options.min_pass:
        print(f"FAILED: {counts[Outcome.PASS]} tests pass, at least {options.min_pass} should")
    incomplete = sum(result.outcome == Outcome.REFUSED and not is_complete(result.detail) for result in results)
    if incomplete:
        print(f"FAILED: {incomplete} refusals do not say the operator, why, and what to do")
    failed = incomplete or counts[Outcome.WRONG] or counts[Outcome.CRASHED] or counts[Outcome.PASS] < options.min_pass
    return 1 if failed else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.onnx_nodes", description=__doc__)
    parser.add_argument("--only", metavar="PATTERN", default="", help="tests whose name has a match of this expression")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write every result to this file")
    parser.add_argument(
        "--min-pass", metavar="COUNT", type=int, help=f"how many must pass; {MIN_PASS} by default, 0 with --only"
    )
    options = parser.parse_args(arguments)
    if options.min_pass is None:
        options.min_pass = 0 if options.only else MIN_PASS
    return options


def _judge(cases: Sequence[NodeCase]) -> list[Result]:
    """Judge every case in a worker process, and show how far it is on a terminal."""
    results = []
    with Worker() as worker:
        for number, case in enumerate(cases, 1):
            results.append(worker.judge(case))
            if sys.stderr.isatty():
                print(f"\r{number}/{len(cases)} {case.name[:80]:<80}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 95 + "\r", end="", file=sys.stderr)
    return results


if __name__ == "__main__":
    sys.exit(main())
