"""Fetches the published files of a task or submission from outside, as verifiers will, before money goes in."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from verifier.artifacts.errors import FetchError
from verifier.artifacts.fetch import fetch
from verifier.artifacts.policy import Policy, printable
from verifier.artifacts.store import Store
from verifier.cli.progress import progress_bar
from verifier.service.fetches import MIN_BYTES_PER_S, MIN_TIMEOUT_S
from verifier.tasks.download import task_files
from verifier.tasks.manifest import MAX_MANIFEST_BYTES, Manifest


@dataclass(frozen=True)
class PublishedFile:
    """A file that verifiers or solvers fetch: what it is called, its digest, its size in bytes and its URIs."""

    label: str
    digest: bytes
    size: int | None  # None for a manifest of which only the digest is known
    uris: tuple[str, ...]


def policy(allow_hosts: Sequence[str], ipfs_gateway: str | None) -> Policy:
    """The verifiers' rules for untrusted URIs, with what the options of `fetching_options` allow."""
    return Policy(allow_hosts=allow_hosts, ipfs_gateway=ipfs_gateway, max_unsized_bytes=MAX_MANIFEST_BYTES)


def files_of(manifest: Manifest, manifest_uri: str) -> list[PublishedFile]:
    """The files that a task consists of, and where the sponsor says they are."""
    return [
        PublishedFile("the manifest", manifest.digest(), len(manifest.to_bytes()), (manifest_uri,)),
        *(PublishedFile(file.name, file.digest, file.size, file.uris) for file in task_files(manifest)),
    ]


def require(files: Sequence[PublishedFile], rules: Policy, folder: Path) -> list[str]:
    """Fetch every file from each of its URIs into the store `folder`, and check sizes and digests.

    Returns a warning for each URI that fails although another one has the file. Errors: ClickException naming the files
    that no URI has, each with the reason.
    """
    store, missing, warnings = Store(folder), [], []
    with progress_bar() as show:
        for number, file in enumerate(files):
            show("fetching what is published", number, len(files))
            failed = [reason for uri in file.uris if (reason := _problem(file, uri, rules, store)) is not None]
            if len(failed) == len(file.uris):
                missing.extend(failed or [f"{file.label}: the manifest names no URI for it"])
            else:
                warnings.extend(failed)
        show("fetching what is published", len(files), len(files))
    if missing:
        raise click.ClickException(
            "verifiers could not fetch these files, so nothing is sent:\n"
            + "".join(f"  {line}\n" for line in missing)
            + "Publish these files first (see `touchstone publish`). Verifiers fetch https from public hosts only. On "
            "a local network, name the host that its verifiers allow with --allow-host."
        )
    return warnings


def fetched(file: PublishedFile, rules: Policy, folder: Path) -> bytes:
    """Fetch a file into the store `folder` and return its bytes. Errors: FetchError with the reason for each URI."""
    store = Store(folder)
    fetch(file.uris, file.digest, file.size, _in_time(file, rules), store)
    return store.get(file.digest)


def _problem(file: PublishedFile, uri: str, rules: Policy, store: Store) -> str | None:
    """Why the file cannot be fetched from that URI, or None when it can."""
    store.remove(file.digest)  # so that this URI is asked although another one had the file
    try:
        fetch([uri], file.digest, file.size, _in_time(file, rules), store)
    except FetchError as error:
        return f"{file.label}: {printable(uri)} {error.reasons[0][1]}"
    return None


def _in_time(file: PublishedFile, rules: Policy) -> Policy:
    """The rules with the time limit that a verifier's service gives a file of this size."""
    size = MAX_MANIFEST_BYTES if file.size is None else file.size
    return replace(rules, timeout_s=min(rules.timeout_s, MIN_TIMEOUT_S + size / MIN_BYTES_PER_S))
