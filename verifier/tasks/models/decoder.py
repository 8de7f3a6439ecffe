"""A decoder in torch, as the kinds for language models use it: logits at the places that a metric reads.

The builder exports it and the example trainers train it, so both use the same model.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from verifier.tasks.errors import BuildError
from verifier.tasks.models.loading import load_decoder, max_tokens, vocabulary

# Largest difference of two logits of the same model, computed with and without its output layer's own code: rounding
# errors are far below it, a scaling or a soft cap of the logits is far above it.
_MAX_LOGIT_DIFFERENCE = 1e-3


class Decoder(nn.Module):
    """`decoder` is transformers' causal language model: names of a submission's tensors are paths in it."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        super().__init__()
        self.decoder = decoder
        self.vocabulary = vocabulary(decoder)
        self.max_tokens = max_tokens(decoder)

    def forward(self, tokens: Tensor, places: Tensor) -> Tensor:
        """Return the logits [rows, answers, vocabulary] that predict the tokens at `places`.

        `tokens` [rows, sequence] are token ids; `places` [rows, answers] are positions in a row, from 1 on. A token is
        predicted from those before it. A place below 1, which fills a row with fewer answers, is read as 1.

        The output layer runs at these places only: it is a quarter of the work of a small decoder with a large
        vocabulary.
        """
        body: nn.Module = self.decoder.base_model
        hidden = body(input_ids=tokens, use_cache=False).last_hidden_state
        before = (places - 1).clamp(min=0).unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
        head: nn.Module = self.decoder.get_output_embeddings()  # type: ignore[no-untyped-call]
        logits: Tensor = head(hidden.gather(1, before))
        return logits


def load_language_model(folder: Path) -> Decoder:
    """Load the decoder of a model folder. Errors: BuildError, also for one that changes its logits after its head."""
    decoder = Decoder(load_decoder(folder)).eval()
    tokens = torch.arange(8).unsqueeze(0) % decoder.vocabulary
    with torch.no_grad():
        own = decoder.decoder(input_ids=tokens, use_cache=False).logits[:, :-1]
        found = decoder(tokens, torch.arange(1, 8).unsqueeze(0))
    if not (own - found).abs().max() <= _MAX_LOGIT_DIFFERENCE:
        raise BuildError(
            f"the {type(decoder.decoder).__name__} in {folder} changes its logits after its output layer, which a task "
            "cannot express: choose a model of the Llama, Qwen, Mistral or GPT-2 type"
        )
    return decoder
