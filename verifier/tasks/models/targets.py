"""Which linear layers of a model get an adapter, in the forms that PEFT's `target_modules` has."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from verifier.tasks.errors import BuildError
from verifier.tasks.models.patterns import matches, pattern_problem

# PEFT's word for all linear layers but the output layer.
ALL_LINEAR = "all-linear"
# What GPT-2 calls a linear layer has its weight transposed; PEFT and the export treat it as one.
LINEAR = (nn.Linear, Conv1D)
# Maximum number of names that an error lists.
_MAX_NAMES = 12


def select_layers(part: nn.Module, targets: Sequence[str]) -> list[str]:
    """Return the paths in `part` of the linear layers that the targets select, in the order of the model.

    A target is the end of a layer's path, such as `query` or `self_attn.q_proj`; or, where it is the only one,
    `all-linear` or a regular expression that matches whole paths, such as `.*layers[.][0-3][.].*q_proj`.
    The output layer gets no adapter. Errors: BuildError when a target selects no layer.
    """
    output = part.get_output_embeddings() if isinstance(part, PreTrainedModel) else None  # type: ignore[no-untyped-call]
    layers = {name: module for name, module in part.named_modules() if isinstance(module, LINEAR)}
    paths = [name for name, module in layers.items() if module is not output]
    ends = sorted({path.rpartition(".")[2] for path in paths})
    found = f"it has {', '.join(ends[:_MAX_NAMES])}"
    if not targets:
        raise BuildError(f"name at least one linear layer to adapt, or {ALL_LINEAR}; {found}")
    if list(targets) == [ALL_LINEAR]:
        return paths
    chosen: set[str] = set()
    for target in targets:
        matching = [path for path in paths if path == target or path.endswith(f".{target}")]
        if not matching and len(targets) == 1:
            matching = _matching(target, paths)
        if not matching:
            raise BuildError(f"the model has no linear layer called {target!r}; {found}")
        chosen.update(matching)
    return [path for path in paths if path in chosen]


def _matching(expression: str, paths: Sequence[str]) -> list[str]:
    """The paths that a pattern matches. Errors: BuildError, also for a pattern that could take very long."""
    if (problem := pattern_problem(expression)) is not None:
        raise BuildError(f"{expression[:80]!a} is not the end of a layer's path, and as a pattern it is {problem}")
    return [path for path in paths if matches(expression, path)]
