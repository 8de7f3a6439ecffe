"""LoRA adapters on a model's linear layers, and the names and grids that their tensors have in a submission."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from verifier.artifacts.tensors import TensorSpec
from verifier.tasks.errors import BuildError

# A submission's tensors are int16. The entries of A and B, balanced by `pack`, stay well below 1 in a trained adapter,
# so their grid spans [-1, 1); a head's entries are larger and few, so their grid spans [-8, 8).
ADAPTER_GRID = -15
HEAD_GRID = -12


def with_adapter(
    model: nn.Module, targets: Sequence[str], rank: int, alpha: int, dropout: float = 0.0, head: str = "classifier"
) -> PeftModel:
    """Return the model with LoRA on every linear layer of its encoder named in `targets`; the head is trained whole.

    `model` has the submodules `encoder` and `head`. Errors: BuildError when there is no target, or when a target names
    no linear layer of the encoder.
    """
    encoder = model.get_submodule("encoder")
    names = {name.rpartition(".")[2] for name, module in encoder.named_modules() if isinstance(module, nn.Linear)}
    if not targets:
        raise BuildError(f"name at least one linear layer to adapt; the encoder has {', '.join(sorted(names))}")
    for target in targets:
        if target not in names:
            raise BuildError(f"the encoder has no linear layer called {target!r}; it has {', '.join(sorted(names))}")
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), modules_to_save=[head]
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
    """Return the name that a submission gives a parameter: the layer's path in the encoder, and the tensor of it."""
    return (
        parameter.removeprefix("base_model.model.")
        .removeprefix("encoder.")
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
