"""Write a comparison as one self-contained HTML page: no scripts, nothing from the network, plots as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from verifier.exact.analysis.findings import MAX_ERROR, MAX_LISTED, Inspection
from verifier.exact.analysis.inspect import LayerDistance, OperatorTime

# Maximum number of rows of a table.
ROWS = MAX_LISTED
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #667085; --line: #d9dee7; --page: #fbfcfe; --bar: #3b6fd4;
  --hot: #d4553b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8f0; --soft: #98a2b3; --line: #333b49; --page: #12161d;
  --bar: #6b9bff; --hot: #ff8266; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page); max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.5rem 0 .3rem; } 
p { color: var(--soft); margin: .2rem 0 .8rem; }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; }
.figures div { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; color: var(--soft); }
.figures b { display: block; font-size: 1.25rem; color: var(--ink); font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } th:first-child, td:first-child { text-align: left; }
td:first-child { max-width: 26rem; overflow: hidden; text-overflow: ellipsis; font-family: ui-monospace, monospace;
  font-size: .85rem; }
td.plot { width: 14rem; } svg { display: block; } rect, circle { fill: var(--bar); } .hot { fill: var(--hot); }
.axis { stroke: var(--line); } text { fill: var(--soft); font-size: 11px; }
"""


def page(
    title: str,
    summary: dict[str, Any],
    inside: Inspection,
    times: Sequence[OperatorTime],
    mapped: bool,
) -> str:
    """Write the page.

    `summary` is what `touchstone compare` prints, and `inside` what it found. `mapped` tells whether a map names the
    layers; without one the outputs alone are compared.
    """
    figures = "".join(
        f"<div><b>{_number(summary[name])}</b>{label}</div>"
        for name, label in (
            ("cosine_min", "smallest cosine"),
            ("scale_error", "scale error"),
            ("max_abs_error", "largest error"),
            ("argmax_agreement", "argmax agreement"),
            ("time_ratio", "time, exact to float32"),
        )
    )
    measured = ", ".join(f"{escape(name)} {_number(value)}" for name, value in summary["measured"].items())
    body = [
        f"<h1>{escape(title)}</h1><div class=figures>{figures}</div><p>{measured}</p>",
        _outputs(summary["outputs"]),
    ]
    body.append(_warnings(summary["warnings"]))
    if mapped:
        layers = [item for item in inside.layers if item.lo <= item.hi and not item.whole]
        body += [_errors(layers), _ranges(layers)]
    else:
        body.append("<h2>Layers</h2><p>Give --map FILE to `lower` and to `compare` to see every layer here.</p>")
    body += [_saturations(inside), _times(times)]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _number(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.9f}" if 0.999 < value < 1 else f"{value:.5g}"
    return escape(str(value))


def _short(value: float) -> str:
    return f"{value:.3g}"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """An HTML table. Cells are HTML; the column of a cell that is an SVG plot has a fixed width."""
    lines = (
        "".join(f"<td class=plot>{cell}</td>" if cell.startswith("<svg") else f"<td>{cell}</td>" for cell in row)
        for row in rows
    )
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f"<div class=wide><table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table></div>"


def _bar(share: float, hot: bool = False) -> str:
    """A bar that takes a share, 0 to 1, of the column's width."""
    width = 200 * min(max(share, 0.0), 1.0)
    return (
        f"<svg width=200 height=12><rect x=0 y=1 height=10 rx=2 width={width:.1f}{' class=hot' if hot else ''} /></svg>"
    )


def _named(name: str) -> str:
    return f"<span title='{escape(name)}'>{escape(name)}</span>"


def _warnings(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<h2>Warnings</h2><ul>{items}</ul>" if sentences else ""


def _outputs(outputs: Sequence[dict[str, Any]]) -> str:
    rows = (
        [
            _named(item["name"]),
            "×".join(map(str, item["shape"])),
            *(_number(item[key]) for key in ("cosine_min", "scale_error", "max_abs_error", "argmax_agreement")),
        ]
        for item in outputs
    )
    return "<h2>Outputs</h2>" + _table(
        ["output", "shape", "smallest cosine", "scale error", "largest error", "argmax agreement"], rows
    )


def _errors(layers: Sequence[LayerDistance]) -> str:
    worst = sorted(layers, key=lambda item: -item.relative)[:ROWS]
    largest = max((item.relative for item in worst), default=0.0) or 1.0
    rounded = [item for item in layers if item.relative > 0]
    rows = (
        [
            _named(item.name),
            f"{item.relative:.2e}",
            _number(item.cosine),
            _number(item.scale),
            f"{item.max_abs_error:.2e}",
            _bar(item.relative / largest, item.relative > MAX_ERROR),
        ]
        for item in worst
    )
    return (
        f"<h2>Worst layers</h2><p>Relative error (root mean square) of {len(layers)} float tensors in the graph's "
        f"order, then the worst {len(worst)}; {len(layers) - len(rounded)} have no error. A cosine below 1 is an error "
        f"of direction, a scale other than 1 one of length. A full bar is the worst; those above {MAX_ERROR:.0%} are "
        f"red.</p>{_plot(rounded)}" + _table(["float tensor", "relative", "cosine", "scale", "largest error", ""], rows)
    )


def _plot(layers: Sequence[LayerDistance]) -> str:
    """Relative errors along the graph, on a logarithmic axis."""
    width, height, left = 1000, 190, 48
    logs = [math.log10(item.relative) for item in layers]
    if not logs:
        return ""
    low, high = math.floor(min(logs)), max(math.ceil(max(logs)), math.floor(min(logs)) + 1)
    down = [10 + (high - log) / (high - low) * (height - 20) for log in logs]
    lines = "".join(
        f"<line class=axis x1={left} x2={width} y1={y:.1f} y2={y:.1f} /><text x=0 y={y + 4:.1f}>1e{power}</text>"
        for power in range(low, high + 1, max((high - low) // 6, 1))
        for y in [10 + (high - power) / (high - low) * (height - 20)]
    )
    step = (width - left - 12) / max(len(logs) - 1, 1)
    dots = "".join(
        f"<circle cx={left + 6 + at * step:.1f} cy={y:.1f} r=2.5><title>{escape(item.name)}: {item.relative:.2e}"
        "</title></circle>"
        for at, (item, y) in enumerate(zip(layers, down, strict=True))
    )
    return f"<svg viewBox='0 0 {width} {height}' width='100%'>{lines}{dots}</svg>"


def _ranges(layers: Sequence[LayerDistance]) -> str:
    def reach(item: LayerDistance) -> float:
        return max(abs(item.lo), abs(item.hi)) / max(abs(item.layer.lo), abs(item.layer.hi), 1e-30)

    furthest = sorted(layers, key=lambda item: -reach(item))[:ROWS]
    rows = (
        [
            _named(item.name),
            f"{_short(item.layer.lo)} … {_short(item.layer.hi)}",
            f"{_short(item.lo)} … {_short(item.hi)}",
            f"{reach(item):.2f}",
            _bar(reach(item) / 2, reach(item) > 1),
        ]
        for item in furthest
    )
    return (
        "<h2>Ranges against calibration</h2><p>How large tensors are here, as a multiple of what calibration saw; a "
        "full bar is 2. Above 1, calibration lacked such samples. A tensor saturates at the headroom it was given.</p>"
        + _table(["float tensor", "calibrated", "here", "multiple", ""], rows)
    )


def _saturations(inside: Inspection) -> str:
    hit = inside.saturated
    largest = max((item.excess for item in hit), default=1.0) or 1.0
    rows = [
        [
            _named(given["name"]),
            f"{given['dtype']} on grid {given['grid']}",
            f"{given['share']:.2%}",
            _short(given["reached"]),
            _short(given["limit"]),
            _bar(given["excess"] / largest, given["excess"] > MAX_ERROR),
        ]
        for given in inside.inputs
    ]
    rows += [
        [
            _named(item.tensor),
            escape(item.node),
            f"{item.share:.2%}",
            _short(item.reached),
            _short(item.limit),
            _bar(item.excess / largest, item.excess > MAX_ERROR),
        ]
        for item in hit[:ROWS]
    ]
    return (
        f"<h2>Saturation</h2><p>{len(rows)} of {len(inside.inputs) + len(hit)} inputs and tensors whose elements pass "
        "the limit to which lowering keeps them, and are set to it. The bar shows how far the largest passes it.</p>"
        + _table(["input, or nearest float tensor", "where", "share", "largest", "limit", ""], rows)
    )


def _times(times: Sequence[OperatorTime]) -> str:
    total = sum(item.milliseconds for item in times) or 1.0
    largest = max((item.milliseconds for item in times), default=1.0) or 1.0
    rows = (
        [
            f"{escape(item.op)} {escape(item.shape)}",
            str(item.nodes),
            f"{item.milliseconds:.3f}",
            f"{item.milliseconds / total:.1%}",
            _bar(item.milliseconds / largest),
        ]
        for item in times[:ROWS]
    )
    return (
        f"<h2>Time by instruction</h2><p>{total:.2f} ms for a batch in the engine's operators, by onnxruntime's "
        f"profile; the longest {min(ROWS, len(times))} of {len(times)} kinds.</p>"
        + _table(["operator and shape of its result", "nodes", "ms", "share", ""], rows)
    )
