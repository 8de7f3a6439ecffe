"""Commands for files that are addressed by their digest: seal, unseal, digest, publish, serve."""

from __future__ import annotations

import json
from pathlib import Path

import click

from verifier.artifacts import digests, sealing
from verifier.artifacts.errors import ArtifactError, KeyFileError, Misfit, UriRefused
from verifier.artifacts.store import Store

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_NEW_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(name="digest")
@click.argument("files", nargs=-1, required=True, type=_FILE)
def digest_command(files: tuple[Path, ...]) -> None:
    """Print the digest of each of FILES.

    A digest is 0x and 64 hexadecimal digits. Manifests, contracts and commitments name every file by it.
    """
    for file in files:
        click.echo(f"{digests.to_hex(digests.digest_file(file))}  {file}")


@click.command(name="seal")
@click.argument("file", type=_FILE)
@click.option("--out", type=_NEW_FILE, required=True, help="New file for the ciphertext, which is safe to publish.")
@click.option(
    "--key",
    "key_file",
    type=_NEW_FILE,
    required=True,
    help="New file for the key, with mode 0600. Keep it secret, and keep a copy.",
)
def seal_command(file: Path, out: Path, key_file: Path) -> None:
    """Encrypt FILE under a new key, and write both.

    Prints JSON: `plain` and `sealed` (the digests of FILE and of the ciphertext), `size` in bytes, `file`, `key_file`.
    Save this JSON: the wallet scripts read it when they commit. The commitment on chain binds both digests and the key,
    so a lost key loses the bond. A key encrypts one file only.
    """
    _print_json(**sealing.seal_file(file, out, key_file).fields())


@click.command(name="unseal")
@click.argument("file", type=_FILE)
@click.option("--out", type=_NEW_FILE, required=True, help="New file for the plain bytes.")
@click.option("--key", required=True, help="The key file, or the key itself in hexadecimal, as it is on chain.")
@click.option("--plain", help="The digest that the plain bytes must have; nothing is written when they differ.")
def unseal_command(file: Path, out: Path, key: str, plain: str | None) -> None:
    """Decrypt FILE with its key.

    Prints JSON: `plain` and `sealed` (the digests of the result and of FILE), `size` in bytes, `file`. Without --plain
    a wrong key is not noticed: the result is then random bytes.
    """
    expected = None if plain is None else _digest_option(plain)
    secret = _key_option(key)
    found = sealing.unsealed_digest(secret, file)
    if expected is not None and found != expected:
        raise Misfit(
            f"the key does not open {file}, and nothing is written: the plain bytes would have the digest "
            f"{digests.to_hex(found)}, not {digests.to_hex(expected)}. Check that key, file and --plain belong "
            f"together; {file} has the sealed digest {digests.to_hex(digests.digest_file(file))}"
        )
    sealing.apply_to_file(secret, file, out)
    _print_json(
        plain=digests.to_hex(found),
        sealed=digests.to_hex(digests.digest_file(file)),
        size=out.stat().st_size,
        file=str(out),
    )


@click.command(name="publish")
@click.argument("files", nargs=-1, required=True, type=_FILE)
@click.option("--to", "folder", type=_FOLDER, required=True, help="The folder that `touchstone serve` serves.")
@click.option("--url", required=True, help="The URL at which it is served, for example https://files.example.")
@click.option("--force", is_flag=True, help="Publish files that look like keys or unsealed files, too.")
def publish_command(files: tuple[Path, ...], folder: Path, url: str, force: bool) -> None:
    """Copy FILES into a folder of artifacts, each under its digest.

    Prints a JSON list, one entry for each file: `digest`, `size` in bytes, `uri`, `file`. Everybody can read what is in
    that folder: publish the sealed file, never the plain one. Files that look like keys, unsealed holdouts or unsealed
    submissions are refused.
    """
    from verifier.artifacts.fetch import artifact_uri
    from verifier.artifacts.policy import check_server_url
    from verifier.tasks.publishing import secret_reason

    try:
        check_server_url(url)
    except UriRefused as error:
        raise click.BadParameter(str(error), param_hint="--url") from error
    reasons = {} if force else {file: reason for file in files if (reason := secret_reason(file, files))}
    if reasons:
        listed = "; ".join(f"{file}: {reason}" for file, reason in reasons.items())
        raise ArtifactError(f"nothing is published, because these files look secret: {listed}. --force publishes them")
    published = []
    try:
        store = Store(folder)
        for file in files:
            digest = store.put(file)
            published.append(
                {
                    "digest": digests.to_hex(digest),
                    "size": store.path(digest).stat().st_size,
                    "uri": artifact_uri(url, digest),
                    "file": str(file),
                }
            )
    except OSError as error:
        raise ArtifactError(f"cannot publish to {folder}: {error.strerror}") from error
    click.echo(json.dumps(published, indent=2))


@click.command(name="serve")
@click.argument("folder", type=_FOLDER)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all networks.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="TCP port to listen on; 0 chooses a free one.",
)
@click.option(
    "--requests-per-minute",
    default=600,
    show_default=True,
    type=click.IntRange(min=1),
    help="Limit for each client address. Behind a proxy all clients have one address: set the limit in the proxy.",
)
def serve_command(folder: Path, host: str, port: int, requests_per_minute: int) -> None:
    """Serve a folder of artifacts over HTTP until interrupted.

    The files of FOLDER are at /artifacts/<digest>. Files can be added while the server runs.
    """
    from verifier.artifacts import serve

    try:
        store = Store(folder)
    except OSError as error:
        raise ArtifactError(f"cannot serve {folder}: {error.strerror}") from error
    app = serve.artifacts_app(
        lambda digest: store.path(digest) if store.has(digest) else None, serve.RateLimit(requests_per_minute)
    )

    def ready(actual_port: int) -> None:
        count = sum(1 for _ in store)
        click.echo(f"serving {count} artifacts of {folder} at http://{host}:{actual_port}/artifacts/<digest>")

    serve.run(app, host, port, ready)


def _key_option(text: str) -> bytes:
    """Return the key given by --key: in hexadecimal, or in the file that it names. Errors: KeyFileError."""
    key = sealing.parse_key(text)
    if key is not None:
        return key
    try:
        return sealing.read_key(Path(text))
    except KeyFileError as error:
        raise KeyFileError("--key is neither 64 hexadecimal digits nor a file that holds them") from error


def _digest_option(text: str) -> bytes:
    """Return the digest given by --plain. Errors: ArtifactError."""
    try:
        return digests.from_hex(text)
    except ValueError as error:
        raise ArtifactError(f"--plain: {error}") from error


def _print_json(**fields: str | int) -> None:
    click.echo(json.dumps(fields, indent=2))
