"""The sandboxed process: it limits itself first and loads everything else afterwards.

verifier.execution.sandbox runs it as `python -I -m verifier.execution.child FOLDER`. It reads FOLDER/case.json and
FOLDER/limits.json, writes FOLDER/evidence and FOLDER/result.json, and prints `done total` after every batch. Exit
status 1, with the reason on stderr, means that it has no result.
"""

import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

# Numbers from the Linux headers prctl.h, signal.h and sched.h.
PR_SET_PDEATHSIG = 1
SIGKILL = 9
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def confine(limits: dict[str, int]) -> None:
    """Give up everything that an evaluation does not need, before any heavy module or untrusted file is loaded."""
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, limits["memory_bytes"], limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_s"], limits["cpu_s"] + 1),  # SIGXCPU comes first and names the reason
        (resource.RLIMIT_FSIZE, limits["file_bytes"], limits["file_bytes"]),
    ):
        resource.setrlimit(kind, (soft, hard))
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, SIGKILL)  # when the service is killed, its evaluation ends too
    if os.getppid() != limits["parent"]:
        sys.exit("the service has ended")
    # Leave the network, where the kernel allows that to an ordinary user; elsewhere only the limits above hold.
    libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)


def main() -> None:
    """Confine this process, judge the case and write the result."""
    folder = Path(sys.argv[1])
    limits = json.loads((folder / "limits.json").read_text("utf-8"))
    confine(limits)

    from verifier.errors import TouchstoneError
    from verifier.tasks.case import Case
    from verifier.tasks.errors import DamagedFile, NotEnoughMemory, UnreadableFile
    from verifier.tasks.judge import EvaluationLimits, judge

    case = Case.from_json((folder / "case.json").read_text("utf-8"))
    allowed = EvaluationLimits(limits["threads"], limits["memory_bytes"])
    try:
        judgement = judge(case, folder / "evidence", allowed, lambda done, total: print(done, total, flush=True))
        result: dict[str, Any] = {
            "outcome": judgement.outcome,
            "scores": [str(score) for score in judgement.scores],
            "evidence": judgement.evidence_digest.hex(),
            "fault": judgement.fault,
        }
    except UnreadableFile as error:
        result = {"unreadable": error.digest.hex(), "reason": error.reason}
    except DamagedFile as error:
        result = {"damaged": error.digest.hex(), "found": error.found.hex()}
    except NotEnoughMemory as error:
        sys.exit(f"{error} (sandbox.memory_bytes)")
    except MemoryError:
        sys.exit(f"out of memory: {limits['memory_bytes']} bytes are allowed (sandbox.memory_bytes)")
    except (TouchstoneError, OSError) as error:
        sys.exit(str(error))
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
