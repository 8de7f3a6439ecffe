"""The classifier that a LoRA task is about, in torch: an encoder, mean pooling over the tokens, a linear head.

The builder exports it and the example trainer trains it, so both mean the same model. Needs the `tasks` extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from verifier.tasks.errors import BuildError


class Classifier(nn.Module):
    """`encoder` and `classifier` under these names: PEFT's keys and the tensors of a submission follow from them."""

    def __init__(self, encoder: PreTrainedModel, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, classes)
        self.vocabulary: int = encoder.config.vocab_size
        self.longest: int = getattr(encoder.config, "max_position_embeddings", 1 << 15)  # tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, classes] and the pooled embedding [batch, width] of token ids and a 0/1 mask [batch, length].

        A row whose mask is all zero gives an embedding of zeros.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        embedding = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return self.classifier(embedding), embedding


def load_classifier(folder: Path, classes: int) -> Classifier:
    """The base model in float32 with a fresh head. Nothing is downloaded. Errors: BuildError."""
    if not (folder / "config.json").is_file():
        raise BuildError(f"{folder} is no model folder: it has no config.json")
    disable_progress_bar()  # type: ignore[no-untyped-call]  # of the moment in which weights are copied
    try:
        # "eager": plain matrix products and a softmax, which is what can be lowered.
        encoder = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, attn_implementation="eager", dtype=torch.float32
        )
    except (OSError, ValueError, ImportError) as error:
        raise BuildError(f"cannot load the model in {folder}: {str(error).splitlines()[0]}") from error
    if hasattr(encoder, "pooler"):
        encoder.pooler = None  # another way to pool, which nothing here reads and nobody should adapt
    return Classifier(encoder, classes)


def with_adapter(model: Classifier, targets: Sequence[str], rank: int, alpha: int, dropout: float = 0.0) -> PeftModel:
    """The model with LoRA on every linear layer called one of `targets`, and the head trained whole.

    Errors: BuildError when there is no target, or one that names no layer of the encoder.
    """
    names = {name.rpartition(".")[2] for name, module in model.encoder.named_modules() if isinstance(module, nn.Linear)}
    if not targets:
        raise BuildError(f"name at least one linear layer to adapt; the encoder has {', '.join(sorted(names))}")
    for target in targets:
        if target not in names:
            raise BuildError(f"the encoder has no linear layer called {target!r}; it has {', '.join(sorted(names))}")
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(targets), modules_to_save=["classifier"]
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted
