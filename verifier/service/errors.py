"""The three ways in which a duty, or the service itself, can fail.

ServiceError
├── Retry   it may work at the next tick: a file is not here yet, an evaluation runs, the disk is full
├── Skip    it is not done, and the reason is logged; the service goes on with everything else
└── Stop    to go on would be wrong or dangerous: the process ends with the reason
"""

from verifier.errors import TouchstoneError


class ServiceError(TouchstoneError):
    """The root of the errors that the service raises on purpose."""


class Retry(ServiceError):
    """It cannot be done now; the next tick tries again."""


class Skip(ServiceError):
    """It is not done unless the chain changes; the reason is logged once."""


class Stop(ServiceError):
    """The service must not go on."""
