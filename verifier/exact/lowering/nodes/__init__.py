"""One small module for each family of float operators; importing them fills the registry."""

from verifier.exact.lowering.nodes import (
    convolution,
    elementwise,
    linear,
    logarithm,
    logic,
    moving,
    normalise,
    pooling,
    reducing,
    roots,
    shapes,
    softmax,
    tables,
)

__all__ = [
    "convolution",
    "elementwise",
    "linear",
    "logarithm",
    "logic",
    "moving",
    "normalise",
    "pooling",
    "reducing",
    "roots",
    "shapes",
    "softmax",
    "tables",
]
