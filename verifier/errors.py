"""The base of every error that Touchstone raises on purpose.

TouchstoneError
├── verifier.protocol   IncompleteHistory
├── verifier.exact      NotExactError, LoweringError, SelfTestError …
├── verifier.artifacts  Misfit, FetchError …
├── verifier.tasks      ManifestError, PackError …
├── verifier.chain      ChainError …
└── verifier.service    Retry, Skip, Stop
"""


class TouchstoneError(Exception):
    """An error that a user can act on: the message says what is wrong and, where it is not obvious, what to do."""
