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
    words = (*SPECIAL, *GOOD, *BAD, *NEUTRAL)
    vocabulary = {word: number for number, word in enumerate(words)}
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=24,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)


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
