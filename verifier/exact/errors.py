"""The errors of exact evaluation.

ExactError
├── NotExactError     a graph that is not proven exact; names the node and the reason
├── FeedError         inputs that are not what a program declares
├── LoweringError     a float graph that cannot be lowered; names the node, the reason and what to change
├── DependenceError   an output that may depend on what it must not depend on, or a question that cannot be answered
└── SelfTestError     this machine's onnxruntime computes a known vector differently
"""

from verifier.errors import TouchstoneError


def shortened(text: str, length: int) -> str:
    """Cut a text to at most `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


class ExactError(TouchstoneError):
    """Exact evaluation refuses a file, a feed or this machine."""


class NotExactError(ExactError):
    """A graph is not proven exact. `node` is a node's name, or the part of the file that is at fault."""

    def __init__(self, node: str, reason: str) -> None:
        # Both can quote an untrusted file.
        node, reason = shortened(node, 300), shortened(reason, 600)
        super().__init__(f"not exact at {node}: {reason}")
        self.node, self.reason = node, reason


class FeedError(ExactError):
    """A feed is missing, unknown, or has another dtype or shape than declared."""


class LoweringError(ExactError):
    """A float node cannot be lowered. `reason` says what to change."""

    def __init__(self, node: str, reason: str) -> None:
        super().__init__(f"cannot lower {node}: {reason}")
        self.node, self.reason = node, reason


class DependenceError(ExactError):
    """An output may depend on positions of an input that it must not depend on, or a question cannot be answered."""


class SelfTestError(ExactError):
    """This machine computes a literal vector differently, or does not run it: it must not sign anything."""
