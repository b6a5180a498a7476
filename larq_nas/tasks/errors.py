"""The error that the tasks raise."""


class TaskError(ValueError):
    """A task cannot do what its configuration asks for."""
