"""Compare machines: `python -m tests.machines` finds one exact digest on all of them, and several of float32."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from tests.machines import bundle, models
from tests.machines.environments import FOLDER, Unavailable, everywhere

ROW = "{:<26} {:<12} {:<8} {:<9}" + " {:<13}" * 4
COLUMNS = ("exact-minilm", "float-minilm", "exact-decoder", "float-decoder")
SHOWN = 12  # hexadecimal digits of each digest
VARIANTS = 12  # programs of each instruction that every machine runs, as the engine's graph and as the file


def faults(report: Mapping[str, Any], expected: Mapping[str, str]) -> list[str]:
    """List the vectors, variants and exact programs that a machine computes differently from the reference."""
    wrong = [str(name) for name in report["wrong"]]
    return wrong + [name for name, digest in expected.items() if report["digests"].get(name) != digest]


def main() -> int:
    """Print the table. Returns 1 when an exact result differs from the reference's, or a machine fails; otherwise 0."""
    logging.disable(logging.WARNING)  # the exporter warns about optional packages
    warnings.simplefilter("ignore")
    print("lowering all-MiniLM-L6-v2 and a small Llama …", flush=True)
    expected = bundle.write(FOLDER / "bundle", [models.encoder(), models.decoder()], VARIANTS)
    print(
        "\n"
        + ROW.format(
            "", "onnxruntime", "vectors", "variants", *(name.replace("float", "fp32") for name in COLUMNS)
        ).rstrip()
    )
    _row("reference interpreter", "-", "-", "-", expected)
    reports: list[Mapping[str, Any]] = []
    skipped, failed = [], []
    for name, place in everywhere():
        try:
            found = place()
            report = found.run(FOLDER / "bundle")
        except Unavailable as reason:
            skipped.append(f"{name}: {reason}")
            continue
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            failed.append(f"{name}: {error}")
            continue
        _row(found.name, report["onnxruntime"], _right(report, "vector"), _right(report, "variant"), report["digests"])
        reports.append(report)
        failed += [f"{name}: {fault} differs from the reference" for fault in faults(report, expected)]
    print()
    for column in COLUMNS:
        count = len({report["digests"][column] for report in reports})
        print(
            f"{column.replace('float', 'fp32')}: {count} digest{'s' if count != 1 else ''} on {len(reports)} machines"
        )
    for line in skipped:
        print(f"skipped: {line}")
    for line in failed:
        print(f"FAILED: {line}")
    return 1 if failed or not reports else 0


def _right(report: Mapping[str, Any], kind: str) -> str:
    """How many of the vectors or variants a machine computes as the reference does, of how many."""
    count = report[f"{kind}s"]
    return f"{count - sum(name.startswith(kind + '-') for name in report['wrong'])}/{count}"


def _shown(column: str) -> str:
    return column.replace("float", "fp32")


def _row(name: str, version: str, vectors: str, variants: str, digests: Mapping[str, str]) -> None:
    shown = (digests.get(column, "-")[:SHOWN] for column in COLUMNS)
    print(ROW.format(name, version, vectors, variants, *shown).rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
