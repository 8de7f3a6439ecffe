"""Which layers get an adapter, in PEFT's forms of `target_modules`."""

from __future__ import annotations

import pytest
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig

from verifier.tasks.errors import BuildError
from verifier.tasks.models.targets import select_layers

SIZES = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}


@pytest.fixture(scope="module")
def llama() -> nn.Module:
    config = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, **SIZES)
    return AutoModelForCausalLM.from_config(config)


def test_select_layers__all_linear__is_every_layer_but_the_output_layer(llama: nn.Module) -> None:
    found = select_layers(llama, ["all-linear"])
    assert len(found) == 2 * 7
    assert "lm_head" not in found


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (["q_proj"], ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj"]),
        (["0.mlp.up_proj", "1.self_attn.q_proj"], ["model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj"]),
        ([r".*layers\.1\..*(q|v)_proj"], ["model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj"]),
    ],
    ids=["end of a name", "ends of paths", "regular expression"],
)
def test_select_layers__forms_of_peft__select_the_same_layers(
    llama: nn.Module, targets: list[str], expected: list[str]
) -> None:
    assert select_layers(llama, targets) == expected


def test_select_layers__gpt2__has_transposed_linear_layers() -> None:
    config = GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    found = select_layers(AutoModelForCausalLM.from_config(config), ["all-linear"])
    assert [path.removeprefix("transformer.h.0.") for path in found] == [
        "attn.c_attn",
        "attn.c_proj",
        "mlp.c_fc",
        "mlp.c_proj",
    ]


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        ([], "name at least one linear layer to adapt, or all-linear; it has down_proj, gate_proj, k_proj"),
        (["query"], "no linear layer called 'query'; it has down_proj, gate_proj"),
        (["proj"], "no linear layer called 'proj'"),
        (["q_proj", "query"], "no linear layer called 'query'"),
        (["q_proj("], "not the end of a layer's path, and as a pattern it is not a regular expression"),
        ([".*" * 60 + "!"], "and as a pattern it is too complex: name the layers"),
    ],
    ids=["none", "unknown", "part of a name", "one of two", "broken expression", "slow expression"],
)
def test_select_layers__nothing_selected__is_refused(llama: nn.Module, targets: list[str], problem: str) -> None:
    with pytest.raises(BuildError, match=problem):
        select_layers(llama, targets)
