"""Encoders of several families, with random weights and sizes: each is built and close to the original, or refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from tests.tasks.tiny import SPECIAL, write_dataset, write_tokenizer
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.classify.build import MAX_SCALE_ERROR, MIN_COSINE, build
from verifier.tasks.kinds.classify.options import ClassifyOptions

# RoBERTa and its kin number positions from the padding token's id on, which is 1.
PADDING_IS_1 = ("[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]")
SEQUENCE = 12


def write_encoder(folder: Path, make: Callable[..., Any], special: tuple[str, ...], positions: int, seed: int) -> None:
    """Write a model folder; `make` gets vocabulary size, heads, width, layers and positions."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    vocabulary = write_tokenizer(folder, special)
    heads = choose.choice((2, 3, 4))
    width = heads * choose.choice((6, 8, 10))
    make(vocabulary, heads, width, choose.choice((1, 2, 3)), positions).save_pretrained(folder)


def common(vocabulary: int, heads: int, width: int, layers: int, positions: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "num_attention_heads": heads,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": 3 * width,
        "max_position_embeddings": positions,
        "initializer_range": 0.2,
    }


def distilbert(vocabulary: int, heads: int, width: int, layers: int, positions: int) -> Any:
    config = hf.DistilBertConfig(
        vocab_size=vocabulary,
        n_heads=heads,
        dim=width,
        n_layers=layers,
        hidden_dim=3 * width,
        max_position_embeddings=positions,
        initializer_range=0.2,
    )
    return hf.DistilBertModel(config)


# Family -> what makes the model, its special tokens in the order of their ids, its adapted layers.
FAMILIES: dict[str, tuple[Callable[..., Any], tuple[str, ...], tuple[str, ...]]] = {
    "bert": (lambda *sizes: hf.BertForMaskedLM(hf.BertConfig(**common(*sizes))), SPECIAL, ("query", "dense")),
    "roberta": (lambda *sizes: hf.RobertaForMaskedLM(hf.RobertaConfig(**common(*sizes))), PADDING_IS_1, ("key",)),
    "mpnet": (lambda *sizes: hf.MPNetModel(hf.MPNetConfig(**common(*sizes))), PADDING_IS_1, ("q", "v")),
    "distilbert": (distilbert, SPECIAL, ("q_lin", "v_lin")),
    "electra": (
        lambda *sizes: hf.ElectraForPreTraining(hf.ElectraConfig(**common(*sizes), embedding_size=10)),
        SPECIAL,
        ("query", "value"),
    ),
    "albert": (
        lambda *sizes: hf.AlbertModel(hf.AlbertConfig(**common(*sizes), embedding_size=10)),
        SPECIAL,
        ("query", "value"),
    ),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "words.tsv"
    write_dataset(file, 120)
    return file


def options(base: Path, dataset: Path, targets: tuple[str, ...], sequence: int = SEQUENCE) -> ClassifyOptions:
    return ClassifyOptions(
        base=base,
        dataset=dataset,
        targets=targets,
        rank=2,
        practice=16,
        holdout=16,
        batch=4,
        sequence=sequence,
        seed=3,
        url="https://files.example",
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_build__encoder_of_each_family__is_close_to_the_original_model(
    dataset: Path, tmp_path: Path, family: str
) -> None:
    make, special, targets = FAMILIES[family]
    reserved = 2 if special is PADDING_IS_1 else 0
    write_encoder(tmp_path / "base", make, special, SEQUENCE + reserved, seed=len(family))
    summary = build(options(tmp_path / "base", dataset, targets), tmp_path / "task")
    assert summary["agreement"] == 1.0
    assert summary["cosine_min"] > 0.9999 > MIN_COSINE
    assert summary["scale_error"] < 0.01 < MAX_SCALE_ERROR


@pytest.mark.parametrize("family", ["roberta", "mpnet"])
def test_build__positions_that_start_after_padding__bound_the_tokens(
    dataset: Path, tmp_path: Path, family: str
) -> None:
    make, special, targets = FAMILIES[family]
    write_encoder(tmp_path / "base", make, special, SEQUENCE + 2, seed=1)
    with pytest.raises(BuildError, match=r"^the model takes at most 12 tokens, not 13$"):
        build(options(tmp_path / "base", dataset, targets, sequence=13), tmp_path / "task")


def test_build__encoder_decoder__is_refused_by_name(dataset: Path, tmp_path: Path) -> None:
    def t5(vocabulary: int, heads: int, width: int, layers: int, positions: int) -> Any:
        config = hf.T5Config(vocab_size=vocabulary, num_heads=heads, d_model=width, num_layers=layers, d_kv=4, d_ff=16)
        return hf.T5Model(config)

    write_encoder(tmp_path / "base", t5, SPECIAL, SEQUENCE, seed=1)
    with pytest.raises(
        BuildError, match=r"^the t5 in \S+ is an encoder-decoder: a task needs a model that is one or the other$"
    ):
        build(options(tmp_path / "base", dataset, ("q",)), tmp_path / "task")
