import numpy as np
import pytest
import tensorflow as tf

from larq_nas.costs.limits import Penalty, crossing


@pytest.mark.parametrize(
    ("cost", "exponent", "factor"), [(50, 1, 1), (100, 1, 1), (150, 1, 1.5), (200, 2, 4), (200, 0, 1)]
)
def test_a_cost_up_to_the_limit_is_free_and_multiplies_the_loss_above_it(cost, exponent, factor):
    penalty = Penalty(lambda probabilities: cost * probabilities["a"], 100, exponent)
    assert float(penalty(tf.constant(3.0), {"a": tf.constant(1.0)})) == pytest.approx(3 * factor)


@pytest.mark.parametrize(("cost", "factor"), [(25, 2), (50, 2**0.5), (100, 1), (400, 4)])
def test_a_cost_below_the_limit_may_be_penalized_too(cost, factor):
    penalty = Penalty(lambda cost: cost, 100, exponent=1, below=-0.5)
    assert float(penalty(tf.constant(3.0), cost)) == pytest.approx(3 * factor)


@pytest.mark.parametrize(("cost", "loss"), [(50, 3), (100, 3), (150, 3.5)])
def test_a_weight_adds_to_the_loss_what_is_above_the_limit(cost, loss):
    assert float(Penalty(lambda cost: cost, 100, weight=0.01)(tf.constant(3.0), cost)) == pytest.approx(loss)


def test_the_loss_leads_to_cheaper_choices_above_the_limit_only():
    choice = tf.Variable(0.5)
    gradients = []
    for most in (0.4, 0.6):
        with tf.GradientTape() as tape:
            loss = Penalty(lambda probability: probability, most)(tf.constant(1.0), choice)
        gradients.append(tape.gradient(loss, choice).numpy())
    assert gradients == [pytest.approx(2.5), 0]


@pytest.mark.parametrize("place", [-3.0, 1e-6, 0.7, 9.99])
def test_a_crossing_lies_between_two_numbers_close_to_each_other(place):
    below, above = crossing(lambda x: x >= place, -10.0, 10.0)
    assert below < place <= above
    assert above - below <= 20e-9
    # What rises in steps crosses at a step.
    below, above = crossing(lambda x: np.floor(x) >= 2, -10.0, 10.0)
    assert below < 2 <= above
