"""Compares a new task with the tasks of the deployment: a holdout or a base that another task uses, too."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import click

from scripts._published import PublishedFile, fetched
from scripts._state import Snapshot
from verifier.artifacts import digests
from verifier.artifacts.policy import Policy
from verifier.errors import TouchstoneError
from verifier.protocol.history import TaskHistory
from verifier.tasks.manifest import Manifest

# Maximum number of open tasks whose manifests are fetched, the newest first: a spammer cannot make `create` slow.
MAX_COMPARED = 64
# Manifests that are fetched at the same time.
WORKERS = 16
# Seconds for one manifest, of at most 1 MiB, of another task. A slow host only costs the comparison with its task.
TIMEOUT_S = 20.0
STALL_S = 5.0


def compare(snapshot: Snapshot, manifest: Manifest, plain: bytes | None, rules: Policy, folder: Path) -> list[str]:
    """Return a remark for each open task with the same sealed holdout or the same base, with the task's whole id.

    `plain` is the digest of the opened holdout; `folder` is a store for the other manifests, which untrusted hosts
    serve. Errors: ClickException when the holdout was revealed in another task, because everybody can read it.
    """
    sealed = None if manifest.holdout is None else digests.from_hex(manifest.holdout.sealed_digest)
    for task in snapshot.history.tasks.values():
        opening = task.holdout
        if opening is not None and (opening.sealed == sealed or opening.plain == plain):
            raise click.ClickException(
                f"the holdout was revealed in task 0x{task.id.hex()}, so everybody can read it: build the task again "
                "with other examples"
            )
    open_tasks = [task for task in snapshot.history.tasks.values() if not task.ended][-MAX_COMPARED:]
    hurried = replace(rules, timeout_s=TIMEOUT_S, stall_s=STALL_S)
    with ThreadPoolExecutor(WORKERS) as workers:
        others = list(workers.map(lambda task: _manifest(task, manifest, hurried, folder), open_tasks))
    remarks, unknown = [], 0
    for task, other in zip(open_tasks, others, strict=True):
        if other is None:
            unknown += 1
            continue
        if sealed is not None and other.holdout is not None and digests.from_hex(other.holdout.sealed_digest) == sealed:
            remarks.append(
                f"open task 0x{task.id.hex()} has the same sealed holdout: revealing it there opens it here, too"
            )
        if (other.base.model, other.base.tokenizer) == (manifest.base.model, manifest.base.tokenizer):
            remarks.append(f"open task 0x{task.id.hex()} has the same base: its submissions may fit this task, too")
    if unknown:
        remarks.append(f"{unknown} open tasks are not compared, because their manifests cannot be fetched or read")
    return remarks


def _manifest(task: TaskHistory, own: Manifest, rules: Policy, folder: Path) -> Manifest | None:
    """The manifest of another task, or None when it cannot be fetched or read."""
    if task.terms.manifest == own.digest():
        return own
    try:
        data = fetched(PublishedFile("manifest", task.terms.manifest, None, (task.manifest_uri,)), rules, folder)
        return Manifest.from_bytes(data, task.terms.manifest)
    except TouchstoneError:
        return None
