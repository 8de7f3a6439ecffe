"""Generates verifier/chain/abi/*.json from the contracts: `python -m scripts.abi`; with --check it only compares.

The verifier package contains the ABIs, so that it needs no compiler. A test compares them with the sources.
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
    """The ABI of contracts/`name`.vy as the text of its file."""
    source = ROOT / "contracts" / f"{name}.vy"
    compiled = compile_files([source], ["abi"], paths=[ROOT])
    ((_, outputs),) = compiled.items()
    return json.dumps(outputs["abi"], indent=1, sort_keys=True) + "\n"


def main() -> None:
    """Write the ABIs that changed; with --check, exit with 1 if there are any."""
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
        sys.exit(f"the ABIs of {', '.join(stale)} are stale: run `python -m scripts.abi`")
    print(f"ABIs written: {', '.join(stale) or 'none'}")


if __name__ == "__main__":
    main()
