"""Tiny `language` tasks of made-up questions, one for each family of decoders, built once for all tests."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE, WordLevel
from tokenizers.pre_tokenizers import ByteLevel, Whitespace
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from verifier.exact import Program, load_program
from verifier.tasks import Manifest, load_manifest
from verifier.tasks.kinds.language.build import build
from verifier.tasks.kinds.language.options import LanguageOptions

BATCH, PRACTICE, HOLDOUT, SEQUENCE, RANK = 3, 8, 10, 14, 2
THINGS = ("sky", "grass", "sun", "snow", "coal", "rose", "sea", "leaf")
COLOURS = ("blue", "green", "gold", "white", "black", "red", "grey", "brown")
WORDS = ("<s>", "</s>", "<unk>", "what", "colour", "has", "the", "it", "is", "very", "and", "my", *THINGS, *COLOURS)


def write_words(folder: Path) -> int:
    """Write a tokenizer of the words above, which puts `<s>` before a text, and return its size."""
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    return len(vocabulary)


def write_bytes(folder: Path) -> int:
    """Write a tokenizer of bytes and frequent words, which puts nothing before a text, and return its size.

    As those of GPT-2 and Qwen, it has no padding token, and a word after a space has the space in its token.
    """
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"], show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(row.values()) for row in rows(60)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)
    return int(tokenizer.get_vocab_size())


def common(vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 24,
        "initializer_range": 0.3,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }


def gpt2(vocabulary: int) -> Any:
    sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "initializer_range": 0.3}
    return GPT2LMHeadModel(GPT2Config(vocab_size=vocabulary, bos_token_id=0, eos_token_id=1, **sizes))


# Family -> what makes the model.
FAMILIES: dict[str, Callable[[int], Any]] = {
    "llama": lambda vocabulary: LlamaForCausalLM(LlamaConfig(**common(vocabulary))),
    "qwen2": lambda vocabulary: Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **common(vocabulary))),
    "gpt2": gpt2,
}


def write_decoder(folder: Path, family: str) -> Path:
    """Write a model folder with random weights."""
    torch.manual_seed(7)
    vocabulary = write_words(folder) if family == "llama" else write_bytes(folder)
    FAMILIES[family](vocabulary).save_pretrained(folder)
    return folder


def rows(count: int) -> list[dict[str, str]]:
    """Different questions about colours, and answers of 2 to 5 words that say one, always the same of a thing."""
    choose = random.Random(5)
    found: dict[str, str] = {}
    while len(found) < count:
        words = [choose.choice(("very", "my", "and", "it")) for _ in range(choose.choice((0, 1, 1, 2, 2, 2, 3)))]
        thing = choose.randrange(len(THINGS))
        prompt = " ".join(["what", "colour", "has", *words, "the", THINGS[thing]])
        found[prompt] = " ".join(["it", "is", *words[:2], COLOURS[thing]])
    return [{"prompt": prompt, "answer": answer} for prompt, answer in found.items()]


def write_rows(file: Path, lines: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return file


@dataclass(frozen=True)
class BuiltLanguage:
    """A task's folder, its options and the summary that `build` returned."""

    folder: Path
    options: LanguageOptions
    summary: dict[str, Any]

    @property
    def manifest(self) -> Manifest:
        return load_manifest(self.folder / "manifest.json")

    @property
    def program(self) -> Program:
        return load_program((self.folder / "program.onnx").read_bytes())


@pytest.fixture(scope="package")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("questions") / "colours.jsonl", rows(120))


@pytest.fixture(scope="package")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model folder of each family."""
    return {family: write_decoder(tmp_path_factory.mktemp("models") / family, family) for family in FAMILIES}


def options(base: Path, dataset: Path, **more: Any) -> LanguageOptions:
    """A sponsor's choices for a small task."""
    chosen = {
        "base": base,
        "dataset": dataset,
        "rank": RANK,
        "practice": PRACTICE,
        "holdout": HOLDOUT,
        "batch": BATCH,
        "sequence": SEQUENCE,
        "reference_steps": 6,
        "seed": 5,
        "url": "https://files.example",
    }
    return LanguageOptions.model_validate(chosen | more)


@pytest.fixture(scope="package", params=list(FAMILIES))
def built(
    request: pytest.FixtureRequest,
    bases: dict[str, Path],
    dataset: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> BuiltLanguage:
    chosen = options(bases[request.param], dataset)
    folder = tmp_path_factory.mktemp("built") / "task"
    return BuiltLanguage(folder, chosen, build(chosen, folder))
