"""What can go wrong between the service and a node.

ChainError
├── Unreachable    the node does not answer, or not sensibly: the next tick tries again
├── Refused        the node answered with an error: no money, fees too low, no such method
├── WrongChain     the node answers for another chain, or the contracts are not where the configuration says
└── Reverted       a contract refused a call; `.reason` is its `subject: problem` text
"""

from verifier.errors import TouchstoneError


class ChainError(TouchstoneError):
    """Anything between the service and the chain."""


class Unreachable(ChainError):
    """The node did not answer, or answered something that is no answer."""


class Refused(ChainError):
    """The node answered a request with an error of its own."""


class WrongChain(ChainError):
    """The node, or what lies at a configured address, is not what the configuration names."""


class Reverted(ChainError):
    """A contract refused a call."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"reverted: {reason}")
        self.reason = reason
