"""Makes a submission to a `language` task of a PEFT folder or a safetensors file."""

from __future__ import annotations

from pathlib import Path

from verifier.artifacts import tensors
from verifier.tasks.kinds.language.options import LanguageSettings
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_config import DECODER
from verifier.tasks.models.adapter_files import read_adapter
from verifier.tasks.models.grids import balanced, require_fit, rounded, worst_error
from verifier.tasks.registry import Packed, read_settings


def pack(path: Path, manifest: Manifest) -> Packed:
    """Round an adapter to the task's grids. The report has the largest rounding error and the tensor that has it.

    It also has what the adapter's settings make doubtful, as `remarks`.

    Errors: PackError naming the tensor, or the setting, that does not fit the task; KindError; ManifestError.
    """
    settings = read_settings(LanguageSettings, "language", manifest)
    schema = {spec.name: spec for spec in manifest.submission_schema}
    found = read_adapter(path, schema, settings.rank, manifest, DECODER)
    require_fit(found.floats, schema)
    packed = {name: rounded(schema[name], array) for name, array in balanced(found.floats, schema).items()}
    error, tensor = worst_error(found.floats, packed, schema)
    data = tensors.encode(manifest.submission_schema, packed)
    remarks = {"remarks": list(found.remarks)} if found.remarks else {}
    return Packed(data, {"worst_error": error, "worst_tensor": tensor, **remarks})
