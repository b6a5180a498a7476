"""The private parts of KerasTuner that larq_nas uses."""

# Random values that an oracle draws at most for a trial, until they are new and accepted.
ATTEMPTS = 1_000


def accept_only(oracle, accepts):
    """Lets an oracle draw again what is not accepted, as it does with values that it has drawn before.

    Values that an oracle does not draw at random, e.g. those that maximize an acquisition function, are not affected.

    # Arguments
        oracle: A `keras_tuner.Oracle`.
        accepts: A function from a dictionary of values to whether they are accepted.
    """
    seen = oracle._duplicate
    oracle._duplicate = lambda values: seen(values) or not accepts(values)
    oracle._max_collisions = ATTEMPTS
