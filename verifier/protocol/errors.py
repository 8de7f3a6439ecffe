"""Errors of the protocol package.

ProtocolError
└── IncompleteHistory   the events begin after something that they refer to
"""

from verifier.errors import TouchstoneError


class ProtocolError(TouchstoneError):
    """Data about the chain that contradicts itself."""


class IncompleteHistory(ProtocolError):
    """An event refers to a task, submission or seat whose own event is missing."""
