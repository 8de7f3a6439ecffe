"""`touchstone pack` for `language`: what people have is packed, and what does not fit is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file
from transformers import AutoModelForCausalLM

from tests.tasks.language.conftest import RANK, BuiltLanguage
from verifier.tasks.errors import PackError
from verifier.tasks.kinds.language.pack import pack


def adapter(built: BuiltLanguage, folder: Path, **more: Any) -> Path:
    """Save a random adapter of transformers' own model."""
    torch.manual_seed(3)
    settings = {"r": RANK, "lora_alpha": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"} | more
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(built.options.base), LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.1)
    model.save_pretrained(str(folder))
    return folder


def configure(folder: Path, **changes: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_pack__settings_that_change_nothing__are_the_same_adapter(built: BuiltLanguage, tmp_path: Path) -> None:
    folder = adapter(built, tmp_path / "adapter")
    expected = pack(folder, built.manifest).data
    for changes in ({"fan_in_fan_out": True}, {"fan_in_fan_out": False}, {"task_type": None}, {"lora_dropout": 0.3}):
        configure(folder, **changes)
        assert pack(folder, built.manifest).data == expected, changes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task_type": "SEQ_CLS"}, "task_type: 'SEQ_CLS': the task needs a causal language model$"),
        ({"task_type": "SEQ_2_SEQ_LM"}, "task_type: 'SEQ_2_SEQ_LM': the task needs a causal language model$"),
        (
            {"auto_mapping": {"base_model_class": "LlamaForSequenceClassification"}},
            "auto_mapping: the adapter is of a LlamaForSequenceClassification: the task needs a causal language model$",
        ),
        ({"use_dora": True}, "use_dora: the task's program does not support it"),
        ({"r": RANK + 1}, f"r: rank {RANK + 1}, the task needs {RANK}$"),
    ],
)
def test_pack__setting_of_another_model__is_named(
    built: BuiltLanguage, tmp_path: Path, changes: dict[str, Any], reason: str
) -> None:
    folder = adapter(built, tmp_path / "adapter")
    configure(folder, **changes)
    with pytest.raises(PackError, match=f"^{reason}"):
        pack(folder, built.manifest)


def test_pack__adapter_of_the_output_layer__is_refused_by_its_name(built: BuiltLanguage, tmp_path: Path) -> None:
    folder = adapter(built, tmp_path / "adapter")
    file = folder / "adapter_model.safetensors"
    arrays = load_file(file)
    some = next(name for name in arrays if name.endswith("lora_B.weight"))
    save_file(arrays | {"base_model.model.lm_head.lora_B.weight": arrays[some]}, file)
    with pytest.raises(
        PackError, match=r"^base_model\.model\.lm_head\.lora_B\.weight: the task has no such tensor; it"
    ):
        pack(folder, built.manifest)


def test_pack__lower_rank__is_padded_with_zeros(built: BuiltLanguage, tmp_path: Path) -> None:
    packed = pack(adapter(built, tmp_path / "low", r=RANK - 1), built.manifest)
    assert packed.report["worst_error"] < 2.0**-13


def test_pack__adapter_without_a_layer__names_the_missing_tensor(built: BuiltLanguage, tmp_path: Path) -> None:
    layer = "c_attn" if built.options.base.name == "gpt2" else "q_proj"
    folder = adapter(built, tmp_path / "few", target_modules=[layer])
    with pytest.raises(PackError, match=r"^\S+\.0\.\S+\.lora_A: the adapter does not have it$"):
        pack(folder, built.manifest)
