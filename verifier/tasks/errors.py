"""What can be wrong with a task.

TaskError
├── ManifestError     bytes that are no manifest; the message names the field
├── BuildError        a model or a data set that no task can be built from
├── PackError         an adapter that does not fit the task; the message names the tensor
└── ProgramMismatch   an exact program that is not the one its manifest describes
"""

from verifier.errors import TouchstoneError


class TaskError(TouchstoneError):
    """Anything about what is to be evaluated."""


class ManifestError(TaskError, ValueError):
    """Bytes or fields that make no manifest."""


class BuildError(TaskError):
    """A model, data set or option that no task can be built from."""


class PackError(TaskError):
    """An adapter that cannot become a submission to this task."""


class ProgramMismatch(TaskError):
    """A program that takes, returns or costs something else than its manifest says."""
