"""Writes a model folder of a few kilobytes in transformers' format: a random BERT with a WordPiece tokenizer."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

GOOD = ("fine", "great", "lovely", "clever", "warm", "bright")
BAD = ("dull", "awful", "cold", "silly", "slow", "dark")
NEUTRAL = ("the", "a", "film", "plot", "scene", "actor", "and", "was", "of", "in", "it", "very")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def write_model(folder: Path) -> None:
    """Write a model of two layers of width 32 whose vocabulary is the words above."""
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=write_tokenizer(folder),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)


def write_tokenizer(folder: Path, special: tuple[str, ...] = SPECIAL) -> int:
    """Write a tokenizer of the words above and return the size of its vocabulary.

    `special` are five tokens in the order of their ids, among them one each that contains PAD, UNK, CLS, SEP and MASK.
    """
    words = (*special, *GOOD, *BAD, *NEUTRAL)
    vocabulary = {word: number for number, word in enumerate(words)}
    named = {name: next(word for word in special if name in word) for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=named["UNK"]))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single=f"{named['CLS']} $A {named['SEP']}",
        special_tokens=[(named[name], vocabulary[named[name]]) for name in ("CLS", "SEP")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **{f"{name.lower()}_token": word for name, word in named.items()}
    ).save_pretrained(folder)
    return len(words)


def write_dataset(file: Path, count: int) -> None:
    """Write different sentences of 3 to 9 words; one word of each decides whether its label is `bad` or `good`."""
    choose = random.Random(11)
    texts: dict[str, str] = {}
    while len(texts) < count:
        label = choose.choice(("bad", "good"))
        sentence = [choose.choice(NEUTRAL) for _ in range(choose.randint(2, 8))]
        sentence.insert(choose.randint(0, len(sentence)), choose.choice(GOOD if label == "good" else BAD))
        texts[" ".join(sentence)] = label
    file.write_text("label\ttext\n" + "".join(f"{label}\t{text}\n" for text, label in texts.items()), "utf-8")
