"""Splits a data set into the sets of a task, and describes a set of examples as the manifest does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.tensors import Schema, TensorSpec
from verifier.tasks.errors import BuildError

Item = TypeVar("Item")
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Split(Generic[Item]):
    """The items of a data set by their use. No item is in two of them."""

    practice: list[Item]
    holdout: list[Item]
    train: list[Item]

    @classmethod
    def draw(cls, items: Sequence[Item], practice: int, holdout: int, calibration: int, seed: int) -> Split[Item]:
        """Shuffle by `seed` and split; all items that are in neither set are left for training.

        Errors: BuildError when fewer than `calibration` are left: the lowering is calibrated on them.
        """
        needed = practice + holdout + calibration
        if len(items) < needed:
            raise BuildError(
                f"the data set has {len(items)} different examples, but the task needs {needed}: "
                f"{practice} for practice, {holdout} for the holdout and {calibration} for calibration"
            )
        order = np.random.default_rng(seed).permutation(len(items))
        shuffled = [items[index] for index in order]
        return cls(
            practice=shuffled[holdout : holdout + practice],
            holdout=shuffled[:holdout],
            train=shuffled[holdout + practice :],
        )


@dataclass(frozen=True)
class ExampleSet:
    """The integer tensors of a set; axis 0 is the example. `count`: examples without the padding of the last batch."""

    arrays: Arrays
    count: int

    def schema(self, rows: int | None = None) -> Schema:
        """Return the tensors' schema, of all rows or of `rows` of them, each on the grid 2^0."""
        return tuple(
            TensorSpec(name, array.dtype.name, (rows or len(array), *array.shape[1:]), 0)
            for name, array in self.arrays.items()
        )
