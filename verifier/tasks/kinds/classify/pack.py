"""Makes a submission to a `classify` task of a PEFT folder or a safetensors file."""

from __future__ import annotations

from pathlib import Path

from verifier.tasks.kinds.classify.options import ClassifySettings
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_config import ENCODER
from verifier.tasks.models.packing import pack_adapter
from verifier.tasks.registry import Packed, read_settings


def pack(path: Path, manifest: Manifest) -> Packed:
    """Round an adapter to the task's grids, see `pack_adapter`. Errors: PackError; KindError; ManifestError."""
    settings = read_settings(ClassifySettings, "classify", manifest)
    return pack_adapter(path, manifest, settings.rank, ENCODER)
