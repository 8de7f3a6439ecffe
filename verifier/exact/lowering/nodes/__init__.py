"""One small module for each family of float operators; importing them fills the registry."""

from verifier.exact.lowering.nodes import (
    elementwise,
    linear,
    logic,
    moving,
    normalise,
    reducing,
    roots,
    softmax,
    tables,
)

__all__ = ["elementwise", "linear", "logic", "moving", "normalise", "reducing", "roots", "softmax", "tables"]
