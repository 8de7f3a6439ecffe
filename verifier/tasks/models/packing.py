"""Makes a submission of a LoRA adapter, for every kind whose submissions are adapters."""

from __future__ import annotations

from pathlib import Path

from verifier.artifacts import tensors
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_config import AdaptedModel
from verifier.tasks.models.adapter_files import read_adapter
from verifier.tasks.models.grids import balanced, require_fit, rounded, worst_error
from verifier.tasks.registry import Packed


def pack_adapter(path: Path, manifest: Manifest, rank: int, adapted: AdaptedModel) -> Packed:
    """Round a PEFT folder or a safetensors file to the grids of a task with adapters of this rank on this model type.

    The report has the largest rounding error, the tensor that has it, and what the adapter's settings make doubtful, as
    `remarks`. Errors: PackError naming the tensor, or the setting, that does not fit the task.
    """
    schema = {spec.name: spec for spec in manifest.submission_schema}
    found = read_adapter(path, schema, rank, manifest, adapted)
    require_fit(found.floats, schema)
    packed = {name: rounded(schema[name], array) for name, array in balanced(found.floats, schema).items()}
    error, tensor = worst_error(found.floats, packed, schema)
    remarks = {"remarks": list(found.remarks)} if found.remarks else {}
    data = tensors.encode(manifest.submission_schema, packed)
    return Packed(data, {"worst_error": error, "worst_tensor": tensor, **remarks})
