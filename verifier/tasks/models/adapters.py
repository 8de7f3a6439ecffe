"""LoRA adapters on a model's linear layers, and the names and grids that their tensors have in a submission."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from verifier.artifacts.tensors import TensorSpec
from verifier.tasks.models.targets import select_layers

# A submission's tensors are int16. The entries of A and B, balanced by `pack`, stay well below 1 in a trained adapter,
# so their grid spans [-1, 1); a head's entries are larger and few, so their grid spans [-8, 8).
ADAPTER_GRID = -15
HEAD_GRID = -12


def with_adapter(
    model: nn.Module,
    targets: Sequence[str],
    rank: int,
    alpha: int,
    *,
    dropout: float = 0.0,
    part: str = "encoder",
    head: str | None = "classifier",
) -> PeftModel:
    """Return the model with LoRA on the linear layers of its submodule `part` that `targets` select.

    The submodule `head`, if there is one, is trained whole. Errors: BuildError when a target selects no layer.
    """
    adapted_part = model.get_submodule(part)
    layers = select_layers(adapted_part, targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        target_modules=[f"{part}.{path}" for path in layers],
        modules_to_save=None if head is None else [head],
        # What PEFT would otherwise set, with a warning, for the layers of GPT-2, whose weights are transposed.
        fan_in_fan_out=all(isinstance(adapted_part.get_submodule(path), Conv1D) for path in layers),
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def trained_tensors(model: PeftModel) -> dict[str, TensorSpec]:
    """Return the tensors of a submission to a task about this model, by the name of the model's parameter."""
    trained = {name: p for name, p in model.named_parameters() if "lora_" in name or ".modules_to_save." in name}
    return {
        name: TensorSpec(
            submission_name(name), "int16", tuple(p.shape), ADAPTER_GRID if ".lora_" in name else HEAD_GRID
        )
        for name, p in trained.items()
    }


def submission_name(parameter: str) -> str:
    """Return the name that a submission gives a parameter: its layer's path in the adapted part, and the tensor."""
    return (
        parameter.removeprefix("base_model.model.")
        .removeprefix("encoder.")
        .removeprefix("decoder.")
        .replace(".modules_to_save.default", "")
        .replace(".lora_A.default.weight", ".lora_A")
        .replace(".lora_B.default.weight", ".lora_B")
    )


def sample_adapter(schema: Sequence[TensorSpec], strength: float, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return a random adapter of the size that training finds, for calibration; `strength` scales B."""
    rng = np.random.default_rng(seed)
    tensors = {}
    for spec in schema:
        if spec.name.endswith(".lora_A"):
            bound = 1.0 / np.sqrt(spec.shape[1])  # PEFT's initialisation
            tensors[spec.name] = rng.uniform(-bound, bound, spec.shape)
        elif spec.name.endswith(".lora_B"):
            tensors[spec.name] = rng.normal(0.0, 0.02 * strength, spec.shape)
        else:
            tensors[spec.name] = rng.normal(0.0, 0.1, spec.shape)
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}
