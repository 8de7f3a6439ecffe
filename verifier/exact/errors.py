"""What exact evaluation can refuse.

ExactError
├── NotExactError   a graph whose exactness is not proven; names the node and the reason
├── FeedError       inputs that are not what a program declares
├── LoweringError   a float graph that cannot be lowered; names the node, the reason and what to change
└── SelfTestError   this machine's onnxruntime computes a known vector differently
"""

from verifier.errors import TouchstoneError


def shortened(text: str, length: int) -> str:
    """At most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


class ExactError(TouchstoneError):
    """Anything exact evaluation refuses."""


class NotExactError(ExactError):
    """A graph that is not proven exact. `node` is a node's name, or the part of the file that is at fault."""

    def __init__(self, node: str, reason: str) -> None:
        # Both can quote a stranger's file.
        node, reason = shortened(node, 300), shortened(reason, 600)
        super().__init__(f"not exact at {node}: {reason}")
        self.node, self.reason = node, reason


class FeedError(ExactError):
    """A feed that is missing, unknown, or of another dtype or shape than declared."""


class LoweringError(ExactError):
    """A float node that cannot be lowered, with what to change."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"cannot lower {node}: {reason}")
        self.node, self.reason = node, reason


class SelfTestError(ExactError):
    """A literal vector comes out differently on this machine: it must not sign anything."""
