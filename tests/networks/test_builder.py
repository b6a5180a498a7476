import inspect

import pytest
import tensorflow as tf

from larq_nas.networks import builder, counting
from larq_nas.networks.builder import Builder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "xnor", "groups": 2}, "kind='xnor': takes no groups; accepted are dilation_rate"),
        ({"kind": "step", "dilation_rate": 2}, "kind='step': takes no dilation_rate; accepted are no options"),
        ({"kind": "float", "dilation_rate": 2}, "kind='float': takes no dilation_rate"),
        ({"kind": "binary"}, "kind='binary': accepted are float"),
    ],
)
@pytest.mark.parametrize("builds", [True, False])
def test_both_interpreters_refuse_alike_what_a_convolution_does_not_take(options, said, builds):
    v = Builder() if builds else counting.Counter()
    x = tf.keras.layers.Input((8, 8, 4)) if builds else counting.Features(8, 8, 4)
    with pytest.raises(ValueError, match=said):
        v.conv(x, 4, 3, name="x", **options)


def test_both_interpreters_have_the_same_verbs():
    assert set(builder.CONVOLUTIONS) == set(counting.CONVOLUTIONS)
    for name, verb in vars(counting.Counter).items():
        if name.startswith("_") or name == "conv":
            continue
        assert _arguments(verb) == _arguments(getattr(Builder, name)), name


def _arguments(verb):
    """What the callers of a verb see."""
    return [(each.name, each.kind, each.default) for each in inspect.signature(verb).parameters.values()]
