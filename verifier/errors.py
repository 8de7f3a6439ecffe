"""The root of every error Touchstone raises on purpose.

TouchstoneError
├── verifier.protocol   IncompleteHistory
├── verifier.exact      NotExactError, LoweringError, SelfTestError …
├── verifier.artifacts  Misfit, FetchError …
├── verifier.tasks      ManifestError, PackError …
├── verifier.chain      ChainError …
└── verifier.service    Retry, Skip, Stop
"""


class TouchstoneError(Exception):
    """Something a user can act on: its message says what is wrong and what to do."""
