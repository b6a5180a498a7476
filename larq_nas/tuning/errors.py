"""Errors of tunings."""

import keras_tuner


class TuningError(ValueError):
    """A tuning cannot begin or go on. The message says what to do."""


class TuningStopped(TuningError, keras_tuner.errors.FatalError):
    """A tuning stops within a trial, although nothing is wrong with the trial. The same command goes on with it."""
