"""The sandboxed process: limits first, everything else after.

Run by verifier.execution.sandbox as `python -I -m verifier.execution.child FOLDER`. Reads FOLDER/case.json and
FOLDER/limits.json, writes FOLDER/evidence and FOLDER/result.json, prints `done total` after every batch.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
SIGKILL = 9
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def confine(limits: dict[str, int]) -> None:
    """Give up what an evaluation does not need. Called before anything heavy, or hostile, is loaded."""
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1),  # SIGXCPU first: its name is the reason
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
    ):
        resource.setrlimit(kind, (soft, hard))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL)  # a killed service leaves no evaluation behind
    if os.getppid() != limits["parent"]:
        sys.exit("the service is gone")
    # No network, where the kernel lets an ordinary user have that; elsewhere the limits above are all there is.
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def main() -> None:
    """Confine, judge, write the result."""
    folder = Path(sys.argv[1])
    limits = json.loads((folder / "limits.json").read_text("utf-8"))
    confine(limits)

    from verifier.errors import TouchstoneError
    from verifier.execution.sandbox import Case
    from verifier.tasks.judge import Damaged, judge

    case = Case.from_json((folder / "case.json").read_text("utf-8"))
    try:
        judgement = judge(case, folder / "evidence", limits, lambda done, total: print(done, total, flush=True))
    except Damaged as error:
        (folder / "result.json").write_text(json.dumps({"damaged": error.digest.hex()}))
        return
    except (TouchstoneError, OSError) as error:
        sys.exit(str(error))
    except MemoryError:
        sys.exit(f"out of memory: {limits['memory_bytes']} bytes are allowed (sandbox.memory_bytes)")
    result = {
        "outcome": judgement.outcome,
        "scores": [str(score) for score in judgement.scores],
        "evidence": judgement.evidence_digest.hex(),
        "fault": judgement.fault,
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
