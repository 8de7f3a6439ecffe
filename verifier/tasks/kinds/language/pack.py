"""Makes a submission to a `language` task of a PEFT folder or a safetensors file."""

from __future__ import annotations

from pathlib import Path

from verifier.tasks.kinds.language.options import LanguageSettings
from verifier.tasks.manifest import Manifest
from verifier.tasks.models.adapter_config import DECODER
from verifier.tasks.models.packing import pack_adapter
from verifier.tasks.registry import Packed, read_settings


def pack(path: Path, manifest: Manifest) -> Packed:
    """Round an adapter to the task's grids, see `pack_adapter`. Errors: PackError; KindError; ManifestError."""
    settings = read_settings(LanguageSettings, "language", manifest)
    return pack_adapter(path, manifest, settings.rank, DECODER)
