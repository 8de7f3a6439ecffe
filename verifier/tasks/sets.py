"""Splits a data set into the sets of a task, and describes a set of examples as the manifest does."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from verifier.artifacts.tensors import Schema, TensorSpec
from verifier.tasks.errors import BuildError

Item = TypeVar("Item")
Arrays = dict[str, NDArray[Any]]
# How many standard deviations a class may be away from its share in a set that was drawn at random. Chance alone
# exceeds two in one draw of twenty.
MAX_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Split(Generic[Item]):
    """The items of a data set by their use. No item is in two of them."""

    practice: list[Item]
    holdout: list[Item]
    train: list[Item]

    @classmethod
    def draw(
        cls,
        items: Sequence[Item],
        practice: int,
        holdout: int,
        calibration: int,
        seed: int,
        *,
        class_of: Callable[[Item], Hashable] = lambda item: None,
    ) -> Split[Item]:
        """Shuffle by `seed` and split; all items that are in neither set are left for training.

        Where the sets that this gives do not have the classes in about the proportions of the data set, each class is
        split on its own instead, in the same shuffled order. Every class is left for training.

        Errors: BuildError when fewer than `calibration` are left, on which the lowering is calibrated, or none of a
        class.
        """
        needed = practice + holdout + calibration
        if len(items) < needed:
            raise BuildError(
                f"the data set has {len(items)} different examples, but the task needs {needed}: "
                f"{practice} for practice, {holdout} for the holdout and {calibration} for calibration"
            )
        order = np.random.default_rng(seed).permutation(len(items))
        shuffled = [items[index] for index in order]
        split = cls(
            practice=shuffled[holdout : holdout + practice],
            holdout=shuffled[:holdout],
            train=shuffled[holdout + practice :],
        )
        if not split._is_proportional(class_of):
            split = cls._stratified(shuffled, practice, holdout, class_of)
        untrained = set(map(class_of, items)) - set(map(class_of, split.train))
        if untrained:
            raise BuildError(
                f"no example of {min(map(str, untrained))!r} is left for training: choose smaller sets, or leave the "
                "class out of the data set"
            )
        return split

    def _is_proportional(self, class_of: Callable[[Item], Hashable]) -> bool:
        """Whether every class is in training, and in both sets as often as chance makes likely."""
        trained = {class_of(item) for item in self.train}
        totals = Counter(map(class_of, (*self.practice, *self.holdout, *self.train)))
        if trained != totals.keys():
            return False
        count = totals.total()
        for part in (self.practice, self.holdout):
            found = Counter(map(class_of, part))
            for name, total in totals.items():
                expected = len(part) * total / count
                deviation = math.sqrt(expected * (1 - total / count))
                if abs(found[name] - expected) > MAX_DEVIATIONS * deviation or (expected >= 1 and not found[name]):
                    return False
        return True

    @classmethod
    def _stratified(
        cls, shuffled: Sequence[Item], practice: int, holdout: int, class_of: Callable[[Item], Hashable]
    ) -> Split[Item]:
        """Split each class in proportion; one item of every class stays for training where the sizes allow it."""
        left: dict[Hashable, int] = Counter(map(class_of, shuffled))
        chosen: list[list[Item]] = []
        rest = list(shuffled)
        for size in (holdout, practice):
            quota = _apportion(size, left)
            taken: list[Item] = []
            kept: list[Item] = []
            for item in rest:
                name = class_of(item)
                if quota[name] > 0:
                    quota[name] -= 1
                    left[name] -= 1
                    taken.append(item)
                else:
                    kept.append(item)
            chosen.append(taken)
            rest = kept
        return cls(practice=chosen[1], holdout=chosen[0], train=rest)


def _apportion(size: int, counts: Mapping[Hashable, int]) -> dict[Hashable, int]:
    """Share `size` among classes of these counts by the largest remainder, leaving one item of each where possible."""
    total = sum(counts.values())
    shares = {name: size * count / total for name, count in counts.items()}
    quota = {name: min(int(shares[name]), max(count - 1, 0)) for name, count in counts.items()}
    # The order of the classes is that of the shuffled items, so ties are decided by the seed.
    by_remainder = sorted(counts, key=lambda name: quota[name] - shares[name])
    for spare in (1, 0):  # only when nothing else is left, the last item of a class is taken
        while sum(quota.values()) < size:
            open_classes = [name for name in by_remainder if quota[name] < counts[name] - spare]
            if not open_classes:
                break
            for name in open_classes[: size - sum(quota.values())]:
                quota[name] += 1
    return quota


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
