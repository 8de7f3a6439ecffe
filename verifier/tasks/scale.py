"""Compares scores on sets of different sizes: the practice set's with the holdout's, to which the threshold applies."""

from __future__ import annotations

from verifier.tasks.manifest import Manifest


def on_the_other_set(manifest: Manifest, score: int, *, sealed: bool) -> str:
    """Say what the share of `score` is on the set that was not scored; `sealed` says that the holdout was.

    A score is a sum over examples, so the same share of the examples has a score in proportion to their number.
    """
    if manifest.holdout is None:
        return "the task has no holdout: the threshold applies to this score"
    practice, holdout = manifest.practice.count, manifest.holdout.count
    if sealed:
        part = _part(score, practice, holdout)
        return f"{score:,} of {holdout:,} on the holdout is the same share as {part} on practice"
    part = _part(score, holdout, practice)
    return (
        f"{score:,} of {practice:,} on practice is the same share as {part} on the holdout, to which the threshold "
        "applies"
    )


def threshold_on_practice(manifest: Manifest, threshold: int) -> str:
    """Say what a threshold, a score on the holdout, is on the practice set."""
    if manifest.holdout is None:
        return f"{threshold:,} of {manifest.practice.count:,}"
    holdout = manifest.holdout.count
    part = _part(threshold, manifest.practice.count, holdout)
    return f"{threshold:,} of {holdout:,} on the holdout, the same share as {part} on practice"


def _part(score: int, count: int, of: int) -> str:
    """Scale `score` on `of` examples to `count` examples, to one decimal where it is not whole."""
    scaled = score * count / of
    shown = f"{score * count // of:,}" if score * count % of == 0 else f"{scaled:,.1f}"
    return f"{shown} of {count:,}"
