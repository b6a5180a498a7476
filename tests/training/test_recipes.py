import math

import numpy as np
import pytest
import tensorflow as tf

from larq_nas import names
from larq_nas.training import optimizers, recipes


def value(schedule, step):
    return float(schedule(tf.constant(step, tf.int64))) if callable(schedule) else schedule


# The CIFAR-10 training of BNAS.
@pytest.mark.parametrize(
    "step, rate, momentum",
    [
        (0, 0.0025, 0.95),
        (196, 0.002675926, None),
        (26_460, 0.02625, 0.90),
        (52_920, 0.05, 0.85),
        (79_380, 0.02625, 0.90),
        (105_840, 0.0025, 0.95),
        (111_720, 0.0012625, 0.95),
        (117_600, 2.5e-5, 0.95),
    ],
)
def test_one_cycle_goes_up_and_down_and_ends_in_a_tail(step, rate, momentum):
    recipe = recipes.Recipe(epochs=600, steps_per_epoch=196, schedule="one_cycle", learning_rate=0.05)
    rates, momenta = recipe.schedules()
    assert value(rates, step) == pytest.approx(rate, rel=1e-5)
    if momentum is not None:
        assert value(momenta, step) == pytest.approx(momentum, rel=1e-5)


def test_one_cycle_is_the_default_with_the_published_rate():
    assert recipes.Recipe(600, 196) == recipes.Recipe(600, 196, schedule="one_cycle", learning_rate=0.05)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_one_cycle_of_a_short_training_stays_within_its_bounds(steps):
    rates, momenta = recipes.Recipe(1, steps).schedules()
    for step in range(steps + 1):
        assert 2.4e-5 < value(rates, step) < 0.0501
        assert 0.849 < value(momenta, step) < 0.951


# The ImageNet training of BNAS; the learning rate moves every step.
@pytest.mark.parametrize("epoch", [0, 1, 12.5, 25, 49, 49.75, 50, 75, 100, 149.25, 249, 249.75])
def test_restarts_are_a_cosine_to_zero_every_fifty_epochs(epoch):
    recipe = recipes.Recipe(250, 1252, "restarts", learning_rate=0.05, momentum=0.7)
    rates, momentum = recipe.schedules()
    expected = 0.025 * (1 + math.cos(math.pi * (epoch % 50) / 50))
    assert value(rates, int(epoch * 1252)) == pytest.approx(expected, rel=1e-4, abs=1e-7)
    assert momentum == 0.7


def test_restarts_come_as_often_as_asked():
    rates, _ = recipes.Recipe(12, 10, "restarts", learning_rate=0.1, restart_epochs=4).schedules()
    assert [value(rates, step) for step in (0, 40, 80)] == pytest.approx([0.1] * 3)
    assert [value(rates, step) for step in (20, 60, 100)] == pytest.approx([0.05] * 3)


@pytest.mark.parametrize("epoch", [0, 5, 10, 19, 20])
def test_cosine_goes_to_zero_once(epoch):
    rates, momentum = recipes.Recipe(20, 7, "cosine", learning_rate=0.1).schedules()
    expected = 0.05 * (1 + math.cos(math.pi * epoch / 20))
    assert value(rates, 7 * epoch) == pytest.approx(expected, rel=1e-5, abs=1e-8)
    assert momentum == 0.9


def test_steps_take_a_tenth_after_each_milestone():
    recipe = recipes.Recipe(300, 10, "steps", learning_rate=0.1, milestones=(140, 220, 260))
    rates, momentum = recipe.schedules()
    found = [value(rates, step) for step in (0, 1399, 1400, 2199, 2200, 2599, 2600, 2999)]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 1e-3, 1e-3, 1e-4, 1e-4])
    assert momentum == 0.9
    with pytest.raises(ValueError, match="schedule='steps': needs milestones"):
        recipes.Recipe(300, 10, "steps").schedules()


@pytest.mark.parametrize("use", [recipes.Recipe.schedules, recipes.Recipe.make_optimizer])
def test_an_unknown_schedule_is_refused_with_the_known_ones(use):
    with pytest.raises(ValueError, match="unknown schedule 'linear'; accepted: one_cycle, restarts, cosine, steps"):
        use(recipes.Recipe(1, 1, schedule="linear"))


@pytest.mark.parametrize("schedule", names.SCHEDULES)
def test_the_optimizer_follows_the_schedules_and_decays_weights(schedule):
    recipe = recipes.Recipe(2, 5, schedule, learning_rate=0.1, weight_decay=0.01, restart_epochs=1, milestones=(1,))
    optimizer, (rates, momenta) = recipe.make_optimizer(), recipe.schedules()
    assert isinstance(optimizer, optimizers.SGD)
    weight, velocity = 2.0, 0.0
    variable = tf.Variable(weight)
    for step in range(10):
        optimizer.apply_gradients([(tf.constant(0.5), variable)])
        # What Keras callbacks log.
        assert float(optimizer.learning_rate) == pytest.approx(value(rates, step))
        velocity = value(momenta, step) * velocity + 0.5 + 0.01 * weight
        weight -= value(rates, step) * velocity
        assert float(variable) == pytest.approx(weight, rel=1e-5)


# --- loss ----------------------------------------------------------------------------------------------------


def predictions(count, classes):
    logits = np.random.default_rng(0).normal(scale=3, size=(count, classes))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probabilities.astype(np.float32), np.arange(count) % classes


def reference(probabilities, labels, smoothing):
    classes = probabilities.shape[1]
    targets = np.eye(classes)[labels] * (1 - smoothing) + smoothing / classes
    return -(targets * np.log(probabilities)).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(9,), (9, 1)])
def test_the_loss_is_cross_entropy_with_smoothed_labels(smoothing, dtype, shape):
    probabilities, labels = predictions(9, 4)
    loss = recipes.Recipe(1, 1, label_smoothing=smoothing).loss(4)
    found = loss(labels.astype(dtype).reshape(shape), probabilities)
    np.testing.assert_allclose(found, reference(probabilities, labels, smoothing).mean(), rtol=1e-5)


def test_smoothing_rewards_a_guess_that_is_less_sure():
    sure, unsure = np.array([[0.999, 0.0005, 0.0005]]), np.array([[0.93, 0.035, 0.035]])
    plain, smoothed = (recipes.Recipe(1, 1, label_smoothing=s).loss(3) for s in (0.0, 0.1))
    assert plain([0], sure) < plain([0], unsure)
    assert smoothed([0], sure) > smoothed([0], unsure)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_keras_trains_and_evaluates_with_the_loss(smoothing):
    probabilities, labels = predictions(10, 4)
    # The inputs are the probabilities: the model hands them on.
    model = tf.keras.Sequential([tf.keras.layers.Rescaling(1.0, input_shape=(4,))])
    model.compile("sgd", recipes.Recipe(1, 1, label_smoothing=smoothing).loss(4), metrics=["accuracy"])
    # The last batch is smaller, and counts for less.
    loss, accuracy = model.evaluate(probabilities, labels, batch_size=4, verbose=0)
    assert loss == pytest.approx(reference(probabilities, labels, smoothing).mean(), rel=1e-5)
    assert accuracy == pytest.approx((probabilities.argmax(1) == labels).mean())
    history = model.fit(probabilities, labels, batch_size=4, verbose=0).history
    assert history["loss"] == pytest.approx([loss], rel=1e-5)


def test_a_model_compiled_with_the_loss_survives_saving(tmp_path):
    probabilities, labels = predictions(10, 4)
    model = tf.keras.Sequential([tf.keras.layers.Rescaling(1.0, input_shape=(4,))])
    model.compile("sgd", recipes.Recipe(1, 1, label_smoothing=0.1).loss(4))
    model.save(tmp_path / "model.keras")
    again = tf.keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(probabilities, labels, verbose=0) == model.evaluate(probabilities, labels, verbose=0)


def test_the_rate_of_a_cosine_rises_from_0_in_the_warm_up_and_falls_to_0():
    recipe = recipes.Recipe(epochs=10, steps_per_epoch=8, schedule="cosine", learning_rate=0.4, warmup_epochs=0.5)
    rate, _ = recipe.schedules()
    assert [float(rate(step)) for step in (0, 1, 2, 4)] == pytest.approx([0, 0.1, 0.2, 0.4])
    assert float(rate(42)) == pytest.approx(0.2, rel=1e-5) and float(rate(80)) == pytest.approx(0, abs=1e-7)
    rate, _ = recipe.changed(epochs=1, warmup_epochs=9).schedules()
    assert [float(rate(step)) for step in (0, 4, 8)] == pytest.approx([0, 0.4, 0], abs=1e-7)
