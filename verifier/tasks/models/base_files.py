"""The files of a base model's folder: what the manifest says about them, and whether a copy has the same.

Only the files that decide about scores are named: the weights and the vocabulary. config.json is left out, because
libraries write their version into it. This module imports neither torch nor transformers.
"""

from __future__ import annotations

import re
from pathlib import Path

from verifier.artifacts import digests
from verifier.tasks.errors import WrongBase
from verifier.tasks.manifest import Base, BaseFile, Manifest

_WEIGHTS = "model*.safetensors"  # one file, or the shards of one
# The first of these that a folder has makes the tokens; tokenizer.json holds the vocabulary itself.
VOCABULARIES = (
    ("tokenizer.json",),
    ("vocab.txt",),
    ("vocab.json", "merges.txt"),
    ("spiece.model",),
    ("sentencepiece.bpe.model",),
    ("tokenizer.model",),
)
# The folder in which huggingface_hub keeps a revision of a model: models--ORGANISATION--NAME/snapshots/REVISION.
_HUB_FOLDER = re.compile(r"models--(.+)")
# How manifests without the list of files name one: its name, a space and its digest.
_NAMED_FILE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*) (0x[0-9a-f]{64})")


def describe(folder: Path) -> tuple[BaseFile, ...]:
    """Return name, digest and size of the files that decide about scores. Errors: OSError."""
    names = sorted(path.name for path in folder.glob(_WEIGHTS))
    names += next((list(group) for group in VOCABULARIES if all((folder / name).is_file() for name in group)), [])
    return tuple(
        BaseFile(
            name=name,
            digest=digests.to_hex(digests.digest_file(folder / name)),
            size=(folder / name).stat().st_size,
        )
        for name in names
    )


def source_of(folder: Path) -> str:
    """Return the model's id on the Hugging Face hub when the folder lies in the hub's cache, else the folder's name."""
    whole = folder.absolute()
    for part in whole.parts:
        found = _HUB_FOLDER.fullmatch(part)
        if found is not None:
            return found[1].replace("--", "/")
    return folder.resolve().name


def check_base(folder: Path, manifest: Manifest) -> None:
    """Check that a folder has the files of the base model that the manifest names; other files are not looked at.

    Errors: WrongBase naming the first file that is missing or differs.
    """
    where = f"; get {manifest.base.source}" if manifest.base.source else ""
    for name, digest in _named_files(manifest.base).items():
        file = folder / name
        if not file.is_file():
            raise WrongBase(f"{folder} is not the base model of this task: it has no {name}{where}")
        found = digests.to_hex(digests.digest_file(file))
        if found != digest:
            raise WrongBase(
                f"{folder} is not the base model of this task: {name} has the digest {found}, and the manifest says "
                f"{digest}{where}"
            )


def _named_files(base: Base) -> dict[str, str]:
    """Digest by file name, as far as the manifest names them."""
    if base.files:
        return {file.name: file.digest for file in base.files}
    found = (_NAMED_FILE.fullmatch(text) for text in (base.model, base.tokenizer))
    return {match[1]: match[2] for match in found if match is not None}
