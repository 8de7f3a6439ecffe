"""Errors between this program and a node.

ChainError
├── Unreachable    the node does not answer, or its answer is malformed: the next tick tries again
├── Refused        the node answered with an error: insufficient funds, fees too low, unknown method
├── WrongChain     the node serves another chain, or a configured address does not hold the expected contract
└── Reverted       a contract refused a call; `.reason` is its `subject: problem` text
"""

from verifier.errors import TouchstoneError


class ChainError(TouchstoneError):
    """Any error between this program and a node."""


class Unreachable(ChainError):
    """The node did not answer, or its answer is malformed."""


class Refused(ChainError):
    """The node answered a request with an error."""


class WrongChain(ChainError):
    """The node's chain, or the contract at a configured address, is not the one that the configuration names."""


class Reverted(ChainError):
    """A contract reverted a call; `reason` is its text."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"reverted: {reason}")
        self.reason = reason
