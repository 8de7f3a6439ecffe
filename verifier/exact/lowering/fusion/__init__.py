"""Rewrites of the float graph before it is lowered: what is best lowered as one unit becomes one node."""

from __future__ import annotations

import onnx

from verifier.exact.lowering.fusion.gelu import gelu
from verifier.exact.lowering.fusion.norms import norm
from verifier.exact.lowering.fusion.patterns import Patterns

# Each is given a node and returns the one that takes its place, with the same outputs, or None.
REWRITES = (gelu, norm)


def fuse(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model in which decomposed GELU and normalisations are one node each."""
    fused = onnx.ModelProto()
    fused.CopyFrom(model)
    patterns = Patterns(fused.graph)
    nodes = []
    for node in fused.graph.node:
        found = (rewrite(node, patterns) for rewrite in REWRITES)
        nodes.append(next((item for item in found if item is not None), node))
    kept = _reachable(nodes, [output.name for output in fused.graph.output])
    del fused.graph.node[:]
    fused.graph.node.extend(kept)
    return fused


def _reachable(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
