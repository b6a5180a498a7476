"""Fitting a model in a run directory. An interrupted run continues after its last finished epoch."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from larq_nas import runs
from larq_nas.training import backups, callbacks


def fit(
    model: tf.keras.Model,
    batches: Callable[[int], tf.data.Dataset],
    run: runs.Run,
    *,
    epochs: int,
    steps_per_epoch: int,
    validation: tf.data.Dataset | None = None,
    extra: Sequence[tf.keras.callbacks.Callback] = (),
    describe: Callable[[], str] = str,
) -> list:
    """Fits a compiled model. If the run was interrupted, it continues after the last finished epoch.

    # Arguments
        model: A compiled model.
        batches: A function that takes the number of the first epoch and returns the training batches from this epoch
            on.
        run: The run directory. This function uses `backup/`, `metrics.csv` and `logs/` in it.
        epochs: Number of epochs of the run, including those before an interruption.
        steps_per_epoch: Number of batches in an epoch.
        validation: Batches on which the model is evaluated after every epoch.
        extra: Further callbacks. They are called before the epoch counts as finished.
        describe: A function that returns a text about the model, which is logged after each epoch.

    # Returns
        The rows of `metrics.csv`.
    """
    backup = backups.Backup(run.backup)
    first_epoch = backup.restore(model)
    run.drop_rows(first_epoch)
    progress = callbacks.Progress(epochs, steps_per_epoch, None, model.train_function is not None, describe)
    keras = tf.keras.callbacks
    try:
        model.fit(
            batches(first_epoch),
            initial_epoch=first_epoch,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            validation_data=validation,
            verbose=0,
            callbacks=[
                callbacks.ReplicaStatistics(),
                callbacks.FiniteLoss(),
                *extra,
                keras.TensorBoard(run.logs, profile_batch=0, write_graph=False),
                keras.CSVLogger(run.metrics_csv, append=True),
                progress,
                # The backup must be last. An epoch in it is finished, and its row is written.
                backup,
            ],
        )
    finally:
        progress.close()
    return run.rows()


def resume_epoch(run: runs.Run) -> int:
    """The number of the first epoch that is not in the backup; 0 if there is no backup."""
    return max((epoch + 1 for epoch in backups.epochs(run.backup)), default=0)
