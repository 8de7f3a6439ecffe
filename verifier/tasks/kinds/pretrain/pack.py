"""Makes a submission to a `pretrain` task of a model's weights."""

from __future__ import annotations

from pathlib import Path

from verifier.artifacts import tensors
from verifier.tasks.kinds.pretrain.options import PretrainSettings
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_files import read_tensors
from verifier.tasks.models.grids import require_fit, rounded, worst_error
from verifier.tasks.models.weight_files import WEIGHTS
from verifier.tasks.registry import Packed, read_settings


def pack(path: Path, manifest: Manifest) -> Packed:
    """Round a model's weights to the task's grids. The report has the largest rounding error and its tensor.

    `path` is a folder with model.safetensors, or a safetensors file whose tensors have the task's names.
    Errors: PackError naming the tensor that does not fit the task; KindError; ManifestError.
    """
    read_settings(PretrainSettings, "pretrain", manifest)
    schema = {spec.name: spec for spec in manifest.submission_schema}
    floats = read_tensors(path / WEIGHTS if path.is_dir() else path, schema)
    require_fit(floats, schema)
    packed = {name: rounded(schema[name], array) for name, array in floats.items()}
    error, tensor = worst_error(floats, packed, schema)
    data = tensors.encode(manifest.submission_schema, packed)
    return Packed(data, {"worst_error": error, "worst_tensor": tensor})
