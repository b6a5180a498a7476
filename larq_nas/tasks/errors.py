"""The error of the tasks."""


class TaskError(ValueError):
    """A task cannot do what its configuration asks for."""
