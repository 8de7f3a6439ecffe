"""A text classifier in torch: an encoder, mean pooling over the tokens, a linear head.

The builder exports it and the example trainer trains it, so both use the same model.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn
from transformers import PreTrainedModel

from verifier.tasks.models.loading import load_encoder, max_tokens, vocabulary


class Classifier(nn.Module):
    """`encoder` and `classifier`: PEFT's keys and the names of a submission's tensors follow from these two names."""

    def __init__(self, encoder: PreTrainedModel, classes: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, classes)
        self.vocabulary = vocabulary(encoder)
        self.max_tokens = max_tokens(encoder)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits [batch, classes] and the pooled embedding [batch, width].

        `input_ids` and the 0/1 `attention_mask` have the shape [batch, tokens]. A row whose mask is all zero gives an
        embedding of zeros.
        """
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        embedding = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return self.classifier(embedding), embedding


def load_classifier(folder: Path, classes: int) -> Classifier:
    """Load the encoder of a model folder and add an untrained head. Errors: BuildError."""
    return Classifier(load_encoder(folder), classes)
