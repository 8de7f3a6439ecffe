"""Model folders from which no task can be built: each is refused in one line that says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tests.tasks.conftest import BuiltTask
from tests.tasks.tiny import write_model
from verifier.tasks.errors import BuildError
from verifier.tasks.kinds.classify.build import build
from verifier.tasks.kinds.classify.options import ClassifyOptions
from verifier.tasks.models.classifier import Classifier
from verifier.tasks.models.loading import load_encoder
from verifier.tasks.text.encoding import Encoding, load_tokenizer
from verifier.tasks.text.rows import Row

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "ab" * 32 + "\nsize 12345\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that a test may spoil."""
    folder = tmp_path / "model"
    write_model(folder)
    return folder


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    arrays = load_file(folder / "model.safetensors")
    edit(arrays)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "pt"})


def without_a_layer(arrays: dict[str, Any]) -> None:
    for name in [name for name in arrays if "layer.1.attention.self.query" in name]:
        del arrays[name]


def not_a_number(arrays: dict[str, Any]) -> None:
    arrays["embeddings.LayerNorm.weight"][3] = np.nan


def with_a_head_and_positions(arrays: dict[str, Any]) -> None:
    arrays["cls.predictions.bias"] = np.zeros(3, np.float32)
    arrays["embeddings.position_ids"] = np.arange(24)[None]


def without_the_pooler(arrays: dict[str, Any]) -> None:
    for name in [name for name in arrays if name.startswith("pooler.")]:
        del arrays[name]


@pytest.mark.parametrize("edit", [with_a_head_and_positions, without_the_pooler])
def test_load_encoder__weights_that_the_task_does_not_use__do_not_matter(folder: Path, edit: Any) -> None:
    rewrite(folder, edit)
    assert load_encoder(folder).pooler is None


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (
            without_a_layer,
            "the files lack weights of the model, which would be random: "
            r"encoder\.layer\.1\.attention\.self\.query\.bias, encoder\.layer\.1\.attention\.self\.query\.weight; get",
        ),
        (not_a_number, r"the weights embeddings\.LayerNorm\.weight have NaN or infinite values$"),
    ],
)
def test_load_encoder__weights_that_are_missing_or_not_numbers__are_named(folder: Path, edit: Any, reason: str) -> None:
    rewrite(folder, edit)
    with pytest.raises(BuildError, match=reason):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (
            {"num_hidden_layers": 1},
            r"without these weights of the files: encoder\.layer\.1\.\S+, .* 13 more; get",
        ),
        ({"num_hidden_layers": 3}, r"lack weights of the model, which would be random: encoder\.layer\.2\."),
        ({"vocab_size": 50}, r"contradicts the shapes of the weights: embeddings\.word_embeddings\.weight; get"),
        ({"num_attention_heads": 5}, "cannot load the model in .*: The hidden size"),
        ({"hidden_size": "wide"}, "cannot load the model in .*: Validation error for field 'hidden_size'"),
        ({"model_type": "unheard-of"}, "cannot load the model in "),
        (
            {"model_type": "t5", "is_encoder_decoder": True},
            "is an encoder-decoder: a task needs a model that is one or the other$",
        ),
        ({"quantization_config": {"bits": 4}}, "has quantised weights: use the model in float32"),
    ],
)
def test_load_encoder__configuration_of_another_model__is_refused(
    folder: Path, settings: dict[str, Any], reason: str
) -> None:
    change(folder / "config.json", **settings)
    with pytest.raises(BuildError, match=reason):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("config.json", POINTER, r"config\.json is a Git LFS pointer and not the file itself: run `git lfs pull`"),
        ("tokenizer.json", POINTER, r"tokenizer\.json is a Git LFS pointer"),
        (
            "config.json",
            "<html>log in</html>",
            r"config\.json is a web page and not the file itself: download",
        ),
        ("config.json", "[]", r"config\.json: not a JSON object$"),
        ("config.json", "{", r"config\.json: not JSON$"),
        ("config.json", "[" * 100_000, r"config\.json: nested too deeply$"),
        ("adapter_config.json", "{}", r"has an adapter_config\.json: the base of a task is a model without an adapter"),
        ("model.safetensors", "", r"model\.safetensors is incomplete or damaged: download it again"),
    ],
)
def test_load_encoder__file_that_is_not_itself__is_named(folder: Path, name: str, text: str, reason: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(BuildError, match=reason):
        load_encoder(folder)


def test_load_encoder__pickled_weights_alone__are_not_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BuildError, match=r"has no model\.safetensors, only pytorch_model\.bin: save the model with"):
        load_encoder(folder)


def test_load_encoder__shard_that_is_missing__is_named(folder: Path) -> None:
    load_encoder(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    load_encoder(folder)
    shard = sorted(folder.glob("model-*.safetensors"))[-1]
    shard.unlink()
    with pytest.raises(BuildError, match=rf"has no {shard.name}, which model\.safetensors\.index\.json names"):
        load_encoder(folder)


def test_load_encoder__configuration_with_a_byte_order_mark__says_so(folder: Path) -> None:
    file = folder / "config.json"
    file.write_text(file.read_text(), "utf-8-sig")
    with pytest.raises(BuildError, match=r"config\.json begins with a byte order mark, .*: save it without$"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"pad_token": None}, "has no padding token, which fills short texts: set `pad_token` in tokenizer_config"),
        ({"padding_side": "left"}, "pads before the text, which moves its positions: set `padding_side`"),
    ],
)
def test_load_tokenizer__that_cannot_pad_behind_a_text__is_refused(
    folder: Path, settings: dict[str, Any], reason: str
) -> None:
    change(folder / "tokenizer_config.json", **settings)
    with pytest.raises(BuildError, match=reason):
        load_tokenizer(folder)


def test_check__texts_of_another_language__say_that_their_tokens_are_unknown(folder: Path) -> None:
    rows = [Row("a", "ein schöner Film"), Row("b", "the film")]
    with pytest.raises(BuildError, match="^60% of the data set's tokens are unknown to the tokenizer in .*: is it"):
        Encoding(folder, 12, ("a", "b")).check(rows, 29)


def test_check__token_beyond_the_embedding__names_text_and_token(folder: Path) -> None:
    rows = [Row("a", "a fine film"), Row("b", "the dull film")]
    encoding = Encoding(folder, 12, ("a", "b"))
    assert len(set(encoding.check(rows, 29))) == 2
    with pytest.raises(BuildError, match=r"^the text 'a fine film' has the token 19, but the model has embeddings"):
        encoding.check(rows, 19)


def test_build__program_that_reads_padding__is_refused(
    options: ClassifyOptions, task: BuiltTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unmasked(self: Classifier, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.encoder(input_ids=input_ids).last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        embedding = (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1.0)
        return self.classifier(embedding), embedding

    assert task.summary["cosine_min"] > 0.9999
    assert task.summary["scale_error"] < 0.01
    monkeypatch.setattr(Classifier, "forward", unmasked)  # the exported model is wrong, and so is the program
    with pytest.raises(BuildError, match="^the exact program"):
        build(options, tmp_path / "task")
    assert list(tmp_path.iterdir()) == []


def test_build__interrupted_while_it_writes__leaves_nothing(
    options: ClassifyOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("verifier.tasks.writing.check_program", interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(options, tmp_path / "task")
    assert list(tmp_path.iterdir()) == []


def test_build__summary__says_what_needs_no_training_and_how_noisy_a_score_is(task: BuiltTask) -> None:
    summary = task.summary
    holdout = summary["label_counts"]["holdout"]
    assert sum(holdout.values()) == summary["counts"]["holdout"] == 18
    assert summary["trivial_scores"]["majority class"] == max(holdout.values())
    assert summary["trivial_scores"]["random class"] == 9.0
    fitted = [score for name, score in summary["trivial_scores"].items() if name.startswith("head fitted to 152 rows")]
    assert len(fitted) == 1
    assert 0 <= fitted[0] <= 18
    assert summary["standard_error"]["at 50 % correct"] == 2.1  # sqrt(18) / 2
    assert summary["seconds"] > 0
    assert summary["left_out"] == {"repeated": 0, "contradicted": 0}
