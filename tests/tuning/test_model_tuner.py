import keras_tuner
import larq as lq
import numpy as np
import tensorflow as tf

from larq_nas import datasets, tuning


def _build(hp):
    units = hp.Choice("units", [4, 32])
    if units == 32:
        hp.Choice("unused", [1, 2], parent_name="units", parent_values=[32])
    model = tf.keras.Sequential(
        [
            tf.keras.layers.Flatten(input_shape=(8, 8, 1)),
            lq.layers.QuantDense(units, kernel_quantizer="ste_sign", kernel_constraint="weight_clip"),
            tf.keras.layers.BatchNormalization(),
            tf.keras.layers.Dense(10),
        ]
    )
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf.keras.optimizers.Adam(hp.Float("learning_rate", 1e-6, 1e-1)), loss, ["accuracy"])
    return model


def test_a_larq_model_of_a_user_is_tuned_and_loaded(tmp_path):
    data = datasets.load("digits", train_examples=400)
    images, labels = next(datasets.evaluation_batches(data, data.train, 400).as_numpy_iterator())
    fit = {"validation_split": 0.25, "epochs": 3, "verbose": 0}

    def tuner():
        oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=3, seed=3)
        return tuning.ModelTuner(oracle, _build, directory=str(tmp_path))

    tuner().search(images, labels, **fit)
    reloaded = tuner()
    best = reloaded.oracle.get_best_trials()[0]
    scores = [trial.score for trial in reloaded.oracle.trials.values()]
    assert len(scores) == 3 and best.score == max(scores) > 0.2
    (model,) = reloaded.get_best_models()
    correct = model.predict(images[300:], verbose=0).argmax(axis=-1) == labels[300:]
    np.testing.assert_allclose(correct.mean(), best.score, atol=1e-6)
    # All trials are done.
    reloaded.search(images, labels, **fit)
    assert len(reloaded.oracle.trials) == 3


def test_a_promoted_trial_goes_on_and_own_metrics_count(tmp_path):
    data = datasets.load("digits", train_examples=100)
    images, labels = next(datasets.evaluation_batches(data, data.train, 100).as_numpy_iterator())
    fitted = []

    class Own(keras_tuner.HyperModel):
        def build(self, hp):
            return _build(hp)

        def fit(self, hp, model, *args, callbacks, **kwargs):
            fitted.append((kwargs["initial_epoch"], kwargs["epochs"], model.get_weights()[0], callbacks))
            model.fit(*args, **kwargs)
            return {"figure": float(len(fitted))}

    objective = keras_tuner.Objective("figure", "max")
    oracle = keras_tuner.oracles.HyperbandOracle(objective, max_epochs=2, factor=2, seed=1)
    tuner = tuning.ModelTuner(oracle, Own(), directory=str(tmp_path))
    mine = tf.keras.callbacks.Callback()
    tuner.search(images, labels, epochs=9, verbose=0, callbacks=[mine])
    trials = list(tuner.oracle.trials.values())
    assert [trial.score for trial in trials] == list(range(1, len(trials) + 1))
    promoted = 0
    for trial, (first, last, weights, callbacks) in zip(trials, fitted, strict=True):
        values = trial.hyperparameters.values
        assert (first, last) == (values["tuner/initial_epoch"], values["tuner/epochs"]) and callbacks[0] is not mine
        if values.get("tuner/trial_id"):
            promoted += 1
            before = tuner.load_model(tuner.oracle.get_trial(values["tuner/trial_id"]))
            np.testing.assert_array_equal(before.get_weights()[0], weights)
    assert promoted
