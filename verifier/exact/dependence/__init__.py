"""Which inputs, and which positions of an input, each element of a program's outputs can depend on, proven.

The analysis runs nothing. It follows every position of an input through the instructions, and uses the intervals of the
proof to see where an influence ends: at a product with 0, at a masked score whose weight is 0. What it says to be
independent is so for every input, however extreme. What it says to depend might not.

- `inputs_of_outputs`, `reach`, `reach_of_padding`: what the analysis found.
- `require_causal`, `require_separate`, `require_padding_ignored`: for builders of tasks, which refuse a program of
  which this is not proven.
- `relation`: the name of what was found along two axes, such as "same or earlier positions".
"""

from verifier.exact.dependence.questions import Reach, inputs_of_outputs, reach, reach_of_padding
from verifier.exact.dependence.requirements import (
    relation,
    require_causal,
    require_padding_ignored,
    require_separate,
)

__all__ = [
    "Reach",
    "inputs_of_outputs",
    "reach",
    "reach_of_padding",
    "relation",
    "require_causal",
    "require_padding_ignored",
    "require_separate",
]
