"""Generate verifier/chain/abi/*.json from the contracts: `python -m scripts.abi`; with --check only say what is stale.

The verifier's package needs no compiler: it carries the ABIs it was built for, and a test holds them equal.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vyper.cli.vyper_compile import compile_files

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "verifier" / "chain" / "abi"
NAMES = ("Stakes", "Panel", "Bounties")


def compile_abi(name: str) -> str:
    """The ABI of contracts/NAME.vy as it is written to its file."""
    source = ROOT / "contracts" / f"{name}.vy"
    compiled = compile_files([source], ["abi"], paths=[ROOT])
    ((_, outputs),) = compiled.items()
    return json.dumps(outputs["abi"], indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write what changed, or with --check fail when something would."""
    stale = []
    FOLDER.mkdir(exist_ok=True)
    for name in NAMES:
        path, text = FOLDER / f"{name}.json", compile_abi(name)
        if path.exists() and path.read_text("utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv[1:]:
            path.write_text(text, "utf-8")
    if stale and "--check" in sys.argv[1:]:
        sys.exit(f"stale: {', '.join(stale)}; run `python -m scripts.abi`")
    print(f"ABIs: {', '.join(stale) or 'nothing'} changed")


if __name__ == "__main__":
    main()
