"""Write every vector file: `python -m tests.vectors.write`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.vectors import elementwise, moving, products, rounding, selecting

FOLDER = Path(__file__).resolve().parents[2] / "verifier" / "exact" / "vectors"
FAMILIES = {
    name: family
    for module in (elementwise, rounding, products, selecting, moving)
    for name, family in module.FAMILIES.items()
}


def rendered() -> dict[str, str]:
    """Return each file's name and text, with a line for each tensor and node, so that differences are readable."""
    return {f"{name}.json": _render([case.raw for case in family()]) for name, family in FAMILIES.items()}


def _render(cases: list[dict[str, Any]]) -> str:
    blocks = []
    for case in cases:
        fields = [f'  "name": {json.dumps(case["name"])}']
        for key in ("inputs", "constants", "outputs"):
            rows = [f"    {json.dumps(name)}: {json.dumps(tensor)}" for name, tensor in case[key].items()]
            fields.append(f'  "{key}": {{\n' + ",\n".join(rows) + "\n  }" if rows else f'  "{key}": {{}}')
        rows = [f"    {json.dumps(node)}" for node in case["nodes"]]
        fields.insert(3, '  "nodes": [\n' + ",\n".join(rows) + "\n  ]")
        blocks.append(" {\n" + ",\n".join(fields) + "\n }")
    return "[\n" + ",\n".join(blocks) + "\n]\n"


def main() -> None:
    for name, text in rendered().items():
        (FOLDER / name).write_text(text, "utf-8")
        print(FOLDER / name)


if __name__ == "__main__":
    main()
