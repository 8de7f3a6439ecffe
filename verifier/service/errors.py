"""The three ways a duty can fail.

ServiceError
├── Retry   it may work at the next tick: the node was away, a file is not here yet
├── Skip    it will not be done, and why; the service goes on with everything else
└── Stop    going on would be wrong or dangerous: the process ends
"""

from verifier.errors import TouchstoneError


class ServiceError(TouchstoneError):
    """Anything the service decides on purpose."""


class Retry(ServiceError):
    """Not now; the next tick tries again."""


class Skip(ServiceError):
    """Not at all, unless the chain changes; the reason goes to the log once."""


class Stop(ServiceError):
    """The service must not go on."""
