"""`touchstone pack` for `classify`: a PEFT folder or a safetensors file becomes a submission on the task's grids."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from safetensors.numpy import load_file, save_file

from tests.tasks.conftest import RANK, BuiltTask, adapted
from verifier.artifacts import digests, tensors
from verifier.artifacts.errors import TargetExistsError
from verifier.cli.main import cli
from verifier.tasks.errors import PackError
from verifier.tasks.kinds.classify.pack import pack
from verifier.tasks.models.classifier import load_classifier

QUERY = "encoder.layer.0.attention.self.query"
PREFIX = "base_model.model.encoder."
PRODUCT_ERROR = 2.0**-14  # largest error of an entry of B·A at rank 2, with A and B below 1 on grids of 2^-15

Arrays = dict[str, np.ndarray[Any, Any]]


def unpacked(task: BuiltTask, data: bytes) -> Arrays:
    """Return a submission's tensors as the real numbers that they represent."""
    schema = task.manifest.submission_schema
    grids = {spec.name: spec.grid for spec in schema}
    return {name: np.ldexp(q.astype(np.float64), grids[name]) for name, q in tensors.decode(schema, data).items()}


def random_adapter(task: BuiltTask, seed: int = 0) -> Arrays:
    """Return a random adapter under the task's names."""
    rng = np.random.default_rng(seed)
    return {spec.name: rng.normal(0.0, 0.05, spec.shape).astype(np.float32) for spec in task.manifest.submission_schema}


def saved(folder: Path, arrays: Arrays) -> Path:
    file = folder / "adapter.safetensors"
    save_file(arrays, file)
    return file


def configure(adapter: Path, **changes: Any) -> None:
    """Change an adapter's settings."""
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rewrite(adapter: Path, change: Any) -> None:
    """Change an adapter's tensors."""
    file = adapter / "adapter_model.safetensors"
    arrays = load_file(file)
    change(arrays)
    save_file(arrays, file)


@pytest.mark.parametrize(("settings", "scaling"), [({}, 2.0), ({"use_rslora": True}, 4.0 / RANK**0.5)])
def test_pack__folder_of_peft__keeps_the_scaled_product_and_the_head(
    task: BuiltTask, adapter: Path, settings: dict[str, Any], scaling: float
) -> None:
    configure(adapter, **settings)
    found = unpacked(task, pack(adapter, task.manifest).data)
    written = load_file(adapter / "adapter_model.safetensors")
    for layer in (0, 1):
        for target in ("query", "value"):
            name = f"encoder.layer.{layer}.attention.self.{target}"
            a, b = written[f"{PREFIX}{name}.lora_A.weight"], written[f"{PREFIX}{name}.lora_B.weight"]
            product = scaling * b.astype(np.float64) @ a
            assert np.abs(product).max() > 0.01
            assert np.abs(found[f"{name}.lora_B"] @ found[f"{name}.lora_A"] - product).max() < PRODUCT_ERROR
    for part in ("classifier.weight", "classifier.bias"):
        assert np.abs(found[part] - written[f"base_model.model.{part}"]).max() <= 2.0**-13


def test_pack__encoder_wrapped_in_another_model__is_the_same_adapter(task: BuiltTask, adapter: Path) -> None:
    expected = pack(adapter, task.manifest).data

    def wrap(arrays: Arrays) -> None:
        for key in list(arrays):
            arrays[key.replace(PREFIX, "base_model.model.bert.")] = arrays.pop(key)

    rewrite(adapter, wrap)
    assert pack(adapter, task.manifest).data == expected


def test_pack__a_and_b_of_different_size__are_balanced_by_component(task: BuiltTask, tmp_path: Path) -> None:
    arrays = random_adapter(task)
    a, b = arrays[f"{QUERY}.lora_A"], arrays[f"{QUERY}.lora_B"]
    a *= np.array([[300.0], [0.001]], np.float32)  # alone, one would not fit and the other would be rounded away
    b *= np.array([[0.001, 300.0]], np.float32)
    found = unpacked(task, pack(saved(tmp_path, arrays), task.manifest).data)
    product = b.astype(np.float64) @ a.astype(np.float64)
    assert np.abs(found[f"{QUERY}.lora_B"] @ found[f"{QUERY}.lora_A"] - product).max() < PRODUCT_ERROR / 16
    used_a = np.abs(found[f"{QUERY}.lora_A"]).max(axis=1)
    used_b = np.abs(found[f"{QUERY}.lora_B"]).max(axis=0)
    np.testing.assert_allclose(used_a, used_b, rtol=1e-3)


def test_pack__b_of_zeros__makes_both_zero(task: BuiltTask, tmp_path: Path) -> None:
    arrays = random_adapter(task)
    arrays[f"{QUERY}.lora_A"] *= 1000
    arrays[f"{QUERY}.lora_B"][:] = 0  # PEFT's initial value
    found = unpacked(task, pack(saved(tmp_path, arrays), task.manifest).data)
    assert not found[f"{QUERY}.lora_A"].any()
    assert not found[f"{QUERY}.lora_B"].any()


def test_pack__worst_error__is_reported_with_its_tensor(task: BuiltTask, tmp_path: Path) -> None:
    arrays = {name: np.zeros_like(array) for name, array in random_adapter(task).items()}
    arrays["classifier.weight"][1, 7] = 3.0 + 2.0**-14  # a quarter of a step of 2^-12
    packed = pack(saved(tmp_path, arrays), task.manifest)
    assert packed.report["worst_tensor"] == "classifier.weight"
    assert packed.report["worst_error"] == 2.0**-14


@pytest.mark.parametrize("name", [f"{QUERY}.lora_A", "classifier.weight", "classifier.bias"])
def test_pack__tensor_that_cannot_fit__is_named_with_its_limit(task: BuiltTask, tmp_path: Path, name: str) -> None:
    arrays = random_adapter(task)
    if name.endswith("lora_A"):
        arrays[f"{QUERY}.lora_B"][:] = 2.0
        arrays[name][:] = 2.0
    else:
        arrays[name].flat[-1] = -9.0
    with pytest.raises(
        PackError, match=rf"^{name}: its largest value is \d\S*, the task's grid holds (1|8): train with"
    ):
        pack(saved(tmp_path, arrays), task.manifest)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"peft_type": "IA3"}, "peft_type: 'IA3', the task needs 'LORA'"),
        ({"r": 3}, "r: rank 3, the task needs 2"),
        ({"r": "2"}, "r: rank '2', the task needs 2"),
        ({"lora_alpha": "4"}, "lora_alpha: not a number between -1,000,000 and 1,000,000$"),
        ({"lora_alpha": True}, "lora_alpha: not a number between -1,000,000 and 1,000,000$"),
        ({"lora_alpha": 10**400}, "lora_alpha: not a number between -1,000,000 and 1,000,000$"),
        ({"lora_alpha": float("nan")}, "lora_alpha: not a number between -1,000,000 and 1,000,000$"),
        ({"use_dora": True}, "use_dora: the task's program does not support it; train without it$"),
        ({"lora_bias": True}, "lora_bias: the task's program does not support it; train without it$"),
        ({"rank_pattern": {"query": 4}}, r"rank_pattern: rank 4 for \S*layer\.0\.\S*query, the task needs 2$"),
        ({"rank_pattern": {"query": 1}}, r"encoder\S*query\.lora_A: shape \[2, 32\], but rank_pattern in \S* is 1$"),
        ({"rank_pattern": {"query": 0}}, "rank_pattern: 0 is not a rank$"),
        ({"rank_pattern": ["query"]}, "rank_pattern: not a JSON object$"),
        ({"alpha_pattern": {"query": "4"}}, "alpha_pattern: not a number between -1,000,000 and 1,000,000$"),
        ({"alpha_pattern": {"(": 4}}, r"alpha_pattern: the pattern '\(' is not a regular expression: missing \)"),
        ({"alpha_pattern": {"(a*)*": 4}}, r"alpha_pattern: the pattern '\(a\*\)\*' is too complex: name the layers$"),
        (
            {"alpha_pattern": {".*" * 60 + "!": 4}},
            r"alpha_pattern: the pattern '\.\*\S+' is too complex",
        ),
        ({"alpha_pattern": {"(.|.)" * 50 + "!": 4}}, r"alpha_pattern: the pattern '\(\S+' is too complex"),
        ({"alpha_pattern": {".?" * 60 + "!": 4}}, r"alpha_pattern: the pattern '\.\?\S+' is too complex"),
        ({"alpha_pattern": {"a" * 257: 4}}, "alpha_pattern: the pattern 'a+' is too complex: name the layers$"),
        ({"use_rslora": "yes"}, "use_rslora: not true or false$"),
        ({"use_qalora": True}, "use_qalora: the task's program does not support it; train without it$"),
        ({"layer_replication": [[0, 2]]}, "layer_replication: the task's program does not support it"),
        ({"trainable_token_indices": [3]}, "trainable_token_indices: the task's program does not support it"),
        ({"target_parameters": ["w"]}, "target_parameters: the task's program does not support it"),
        ({"setting_of_2031": 1}, "setting_of_2031: the task's program does not support it; train without it$"),
        ({"task_type": "CAUSAL_LM"}, "task_type: 'CAUSAL_LM': the task needs an encoder with a head for its classes$"),
        (
            {"auto_mapping": {"base_model_class": "BertForSequenceClassification"}},
            "auto_mapping: the head of a BertForSequenceClassification follows a pooling layer",
        ),
        ({"bias": "all"}, "bias: 'all': the task's base model is fixed; train with 'none'"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: 'pissa' changes the base model"),
    ],
)
def test_pack__unsupported_setting__is_named(
    task: BuiltTask, adapter: Path, changes: dict[str, Any], reason: str
) -> None:
    configure(adapter, **changes)
    with pytest.raises(PackError, match=f"^{reason}"):
        pack(adapter, task.manifest)


def test_pack__settings_that_change_nothing__are_the_same_adapter(task: BuiltTask, adapter: Path) -> None:
    expected = pack(adapter, task.manifest)
    configure(
        adapter,
        target_modules="all-linear",
        exclude_modules=["pooler"],
        layers_to_transform=[0, 1],
        lora_dropout=0.3,
        task_type="FEATURE_EXTRACTION",
        setting_of_2031=None,
        another_of_2031={},
        third_of_2031=False,
        eva_config={"rho": 2.0},
    )
    assert pack(adapter, task.manifest) == expected


def product(task: BuiltTask, data: bytes, layer: str) -> np.ndarray[Any, Any]:
    arrays = unpacked(task, data)
    return np.asarray(arrays[f"{layer}.lora_B"] @ arrays[f"{layer}.lora_A"])


@pytest.mark.parametrize("pattern", ["query", r"layer\.0\.attention\.self\.query", r".*\.0\..*query"])
def test_pack__alpha_pattern__scales_the_layers_that_peft_scales(task: BuiltTask, adapter: Path, pattern: str) -> None:
    plain = pack(adapter, task.manifest).data
    configure(adapter, alpha_pattern={pattern: 1})  # instead of 4
    found = pack(adapter, task.manifest).data
    for layer in (0, 1):
        for target in ("query", "value"):
            name = f"encoder.layer.{layer}.attention.self.{target}"
            scaled = target == "query" and (layer == 0 or pattern == "query")
            expected = product(task, plain, name) * (0.25 if scaled else 1.0)
            assert np.abs(product(task, found, name) - expected).max() < PRODUCT_ERROR


def test_pack__rank_pattern_of_a_lower_rank__has_the_product_that_peft_computes(
    task: BuiltTask, base: Path, tmp_path: Path
) -> None:
    settings = {"rank_pattern": {"query": 1}, "alpha_pattern": {"value": 3}, "use_rslora": True}
    config = LoraConfig(
        r=RANK, lora_alpha=5, target_modules=["query", "value"], modules_to_save=["classifier"], **settings
    )
    torch.manual_seed(3)
    model = get_peft_model(load_classifier(base, 2), config)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    model.save_pretrained(tmp_path / "adapter")
    data = pack(tmp_path / "adapter", task.manifest).data
    for layer in (0, 1):
        for target in ("query", "value"):
            name = f"encoder.layer.{layer}.attention.self.{target}"
            delta = model.base_model.model.encoder.get_submodule(name).get_delta_weight("default").detach().numpy()
            assert np.abs(delta).max() > 0.01
            assert np.abs(product(task, data, name) - delta).max() < PRODUCT_ERROR


def test_pack__lower_rank__has_components_of_zeros(task: BuiltTask, base: Path, tmp_path: Path) -> None:
    adapted(base, 1, rank=1, alpha=3).save_pretrained(tmp_path / "low")
    found = unpacked(task, pack(tmp_path / "low", task.manifest).data)
    written = load_file(tmp_path / "low" / "adapter_model.safetensors")
    a, b = (written[f"{PREFIX}{QUERY}.lora_{half}.weight"].astype(np.float64) for half in "AB")
    assert np.abs(found[f"{QUERY}.lora_B"] @ found[f"{QUERY}.lora_A"] - 3 * b @ a).max() < PRODUCT_ERROR
    assert not found[f"{QUERY}.lora_A"][1].any()
    arrays = {name: array[:1] if name.endswith("lora_A") else array for name, array in random_adapter(task).items()}
    arrays = {name: array[:, :1].copy() if name.endswith("lora_B") else array for name, array in arrays.items()}
    raw = unpacked(task, pack(saved(tmp_path, arrays), task.manifest).data)
    expected = arrays[f"{QUERY}.lora_B"].astype(np.float64) @ arrays[f"{QUERY}.lora_A"]
    assert np.abs(raw[f"{QUERY}.lora_B"] @ raw[f"{QUERY}.lora_A"] - expected).max() < PRODUCT_ERROR


def test_pack__further_layer_whose_b_is_zero__is_left_out_with_a_remark(
    task: BuiltTask, base: Path, tmp_path: Path
) -> None:
    model = adapted(base, 1, targets=("query", "value", "key"))
    for name, parameter in model.named_parameters():
        if "key.lora_B" in name:
            parameter.data.zero_()
    model.save_pretrained(tmp_path / "more")
    adapted(base, 1).save_pretrained(tmp_path / "plain")
    packed = pack(tmp_path / "more", task.manifest)
    assert packed.report["remarks"] == [
        f"encoder.encoder.layer.{layer}.attention.self.key: left out, because its B is zero" for layer in (0, 1)
    ]
    assert len(packed.data) == len(pack(tmp_path / "plain", task.manifest).data)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bert.pooler.dense.weight", "it belongs to a head behind a pooling layer"),
        ("classifier.out_proj.weight", "it belongs to a head of two layers"),
        ("encoder.embeddings.lora_embedding_A", "it adapts an embedding"),
        (f"encoder.{QUERY}.lora_magnitude_vector.weight", "it belongs to DoRA"),
        (f"encoder.{QUERY}.base_layer.weight", "it is a weight of the base model"),
    ],
)
def test_pack__tensor_of_another_kind_of_adapter__is_named_with_the_reason(
    task: BuiltTask, adapter: Path, name: str, reason: str
) -> None:
    rewrite(adapter, put(f"base_model.model.{name}", np.ones((2, 2), np.float32)))
    with pytest.raises(PackError, match=rf"^base_model\.model\.{name}: {reason}"):
        pack(adapter, task.manifest)


def test_pack__state_dict_of_a_compiled_model__is_the_same_adapter(task: BuiltTask, adapter: Path) -> None:
    expected = pack(adapter, task.manifest).data

    def rename(arrays: Arrays) -> None:
        for key in list(arrays):
            new = key.replace(".lora_A.", ".lora_A.mine.").replace(".lora_B.", ".lora_B.mine.")
            new = new.replace("classifier.", "classifier.modules_to_save.mine.")
            arrays[new.replace(PREFIX, "base_model.model._orig_mod.encoder.")] = arrays.pop(key)

    rewrite(adapter, rename)
    assert pack(adapter, task.manifest).data == expected


def test_pack__tensor_file_of_peft_alone__asks_for_the_folder(task: BuiltTask, adapter: Path) -> None:
    with pytest.raises(PackError, match=r"a key of PEFT, whose factor is in adapter_config\.json: give the folder"):
        pack(adapter / "adapter_model.safetensors", task.manifest)


def test_pack__file_that_is_cut_off__is_called_incomplete(task: BuiltTask, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PackError, match="not a safetensors file, or an incomplete one"):
        pack(adapter, task.manifest)


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_pack__web_page_instead_of_a_file__is_refused_as_one(task: BuiltTask, adapter: Path, name: str) -> None:
    (adapter / name).write_text("<!DOCTYPE html><html>log in</html>")
    with pytest.raises(PackError, match=f"{name} is a web page and not the file itself: download it again"):
        pack(adapter, task.manifest)


def test_pack__base_in_a_local_folder__is_compared_file_by_file(
    task: BuiltTask, base: Path, adapter: Path, tmp_path: Path
) -> None:
    configure(adapter, base_model_name_or_path=str(base))
    assert "remarks" not in pack(adapter, task.manifest).report
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "model.safetensors").write_bytes(b"another model")
    configure(adapter, base_model_name_or_path=str(other))
    with pytest.raises(PackError, match=r"^base_model_name_or_path: \S+ is not the base model of this task"):
        pack(adapter, task.manifest)


def test_pack__base_that_is_named_as_the_task_names_it__gets_no_remark(task: BuiltTask, adapter: Path) -> None:
    manifest = task.manifest
    source = manifest.base.model_copy(update={"source": "people/Their-Model"})
    configure(adapter, base_model_name_or_path="/models/their-model/")
    assert "remarks" not in pack(adapter, manifest.model_copy(update={"base": source})).report
    configure(adapter, base_model_name_or_path="people/other")
    (remark,) = pack(adapter, manifest.model_copy(update={"base": source})).report["remarks"]
    assert remark == (
        "base_model_name_or_path: the adapter names the base model 'people/other', and the task 'people/Their-Model': "
        "an adapter of another model scores at random"
    )


def test_pack__another_rank_or_targets__are_named(task: BuiltTask, base: Path, tmp_path: Path) -> None:
    adapted(base, 1, rank=4).save_pretrained(tmp_path / "rank")
    with pytest.raises(PackError, match="^r: rank 4, the task needs 2$"):
        pack(tmp_path / "rank", task.manifest)
    adapted(base, 1, targets=("query",)).save_pretrained(tmp_path / "fewer")
    with pytest.raises(
        PackError, match=r"^encoder\.layer\.0\.attention\.self\.value\.lora_A: the adapter does not have"
    ):
        pack(tmp_path / "fewer", task.manifest)
    adapted(base, 1, targets=("query", "value", "key")).save_pretrained(tmp_path / "more")
    with pytest.raises(
        PackError,
        match=r"0\.attention\.self\.key\.lora_A\.weight: the task has no such tensor; it has adapters of query, v",
    ):
        pack(tmp_path / "more", task.manifest)


def test_pack__adapter_without_a_head__is_refused(task: BuiltTask, adapter: Path) -> None:
    rewrite(adapter, lambda arrays: arrays.pop("base_model.model.classifier.weight"))
    with pytest.raises(PackError, match=r"^classifier\.weight: the adapter does not have it$"):
        pack(adapter, task.manifest)


def put(name: str, array: Any) -> Any:
    def change(arrays: Arrays) -> None:
        arrays[name] = array

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (put("extra", np.zeros(1, np.float32)), "^extra: the task has no such tensor; it has classifier"),
        (put("classifier.bias", np.zeros(3, np.float32)), r"^classifier\.bias: shape \[3\], the task needs \[2\]$"),
        (put("classifier.bias", np.array([0, np.nan], np.float32)), "bias: it has NaN or infinite values$"),
        (put("classifier.bias", np.array([0, -np.inf], np.float32)), "bias: it has NaN or infinite values$"),
        (put("classifier.bias", np.zeros(2, np.int32)), "^'classifier.bias': dtype I32, an adapter has floats$"),
    ],
)
def test_pack__wrong_tensor_in_a_file__is_named(task: BuiltTask, tmp_path: Path, change: Any, reason: str) -> None:
    arrays = random_adapter(task)
    change(arrays)
    with pytest.raises(PackError, match=reason):
        pack(saved(tmp_path, arrays), task.manifest)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not safetensors at all",
        (2**63).to_bytes(8, "little") + b"{}",
        (40).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}',
        (2).to_bytes(8, "little") + b"[]",
    ],
)
def test_pack__malformed_safetensors__are_refused(task: BuiltTask, tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "bad.safetensors"
    file.write_bytes(data)
    with pytest.raises(PackError, match="not a safetensors file"):
        pack(file, task.manifest)


def test_pack__file_larger_than_any_adapter__is_not_read_to_its_end(task: BuiltTask, tmp_path: Path) -> None:
    file = tmp_path / "huge.safetensors"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)  # a sparse file: it takes no space on disk
    with pytest.raises(PackError, match=r"more than \d+ bytes, the largest size of an adapter of this task$"):
        pack(file, task.manifest)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"r": "\xff"}', "not JSON"),
        (b" " * (1 << 20) + b"{}", "more than 1048576 bytes"),
    ],
)
def test_pack__hostile_configuration__is_refused(task: BuiltTask, adapter: Path, data: bytes, reason: str) -> None:
    (adapter / "adapter_config.json").write_bytes(data)
    with pytest.raises(PackError, match=reason):
        pack(adapter, task.manifest)


def test_pack__pickled_weights__are_not_loaded(task: BuiltTask, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    with pytest.raises(PackError, match=r"has no adapter_model\.safetensors: save the adapter with safe serialization"):
        pack(adapter, task.manifest)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_pack__each_float_dtype__is_read(task: BuiltTask, tmp_path: Path, dtype: str) -> None:
    from safetensors.torch import save_file as save_torch

    arrays = {name: torch.from_numpy(array).to(getattr(torch, dtype)) for name, array in random_adapter(task).items()}
    save_torch(arrays, tmp_path / "other.safetensors")
    expected = {name: array.to(torch.float64).numpy() for name, array in arrays.items()}
    found = pack(tmp_path / "other.safetensors", task.manifest).data
    assert found == pack(saved(tmp_path, expected), task.manifest).data


def test_pack_command__adapter__prints_what_it_wrote_and_never_overwrites(
    task: BuiltTask, adapter: Path, tmp_path: Path
) -> None:
    out = tmp_path / "mine.tensors"
    arguments = ["pack", str(adapter), "--task", str(task.folder / "manifest.json"), "--out", str(out)]
    result = CliRunner(mix_stderr=False).invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    packed = pack(adapter, task.manifest)
    assert out.read_bytes() == packed.data
    assert json.loads(result.stdout) == {
        "digest": digests.to_hex(digests.digest(packed.data)),
        "size": tensors.size(task.manifest.submission_schema),
        "file": str(out),
        "worst_error": packed.report["worst_error"],
        "worst_tensor": packed.report["worst_tensor"],
    }
    again = CliRunner(mix_stderr=False).invoke(cli, arguments)
    assert isinstance(again.exception, TargetExistsError)
    assert str(again.exception) == f"{out} exists and is not overwritten: choose another name, or move it away"


def test_pack__b_that_overflows_when_scaled__is_refused_in_one_line(task: BuiltTask, adapter: Path) -> None:
    def fill(arrays: Arrays) -> None:
        for key in [key for key in arrays if "lora_B" in key]:
            arrays[key] = np.full(arrays[key].shape, 1e308)

    rewrite(adapter, fill)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(PackError, match=r"lora_B: it has NaN or infinite values$"):
            pack(adapter, task.manifest)
