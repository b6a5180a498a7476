"""What all methods have in common."""

import dataclasses
import inspect

import pytest

from larq_nas import flags, methods
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.networks import templates
from larq_nas.supernet import strategy

STRATEGIES = {"bnas": bnas.Strategy, "bars": bars.Strategy, "bats": bats.Strategy, "dms": dms.Strategy}
# The dataclasses whose fields are options of a method.
SETTINGS = {**STRATEGIES, "dms": dms.Distributions}
# Arguments of a strategy that have another name than the option.
OPTIONS = {
    ("bnas", "strength"): "diversity",
    ("bnas", "decay"): "diversity_decay",
    ("bars", "tolerance"): "budget_tolerance",
    ("bats", "temperature"): "softmax_temperature",
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_method_has_the_protocol_of_a_strategy(name):
    own = STRATEGIES[name]
    assert strategy.Strategy in own.__mro__
    for member, expected in inspect.getmembers(strategy.Strategy, inspect.isfunction):
        if not member.startswith("_"):
            taken, needed = (list(inspect.signature(f).parameters) for f in (getattr(own, member), expected))
            # A method may have further arguments, but none that a search does not pass.
            assert taken[: len(needed)] == needed, member


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_in_python_has_the_defaults_of_the_options(name):
    compared = 0
    defaults = {field.name: field.default for field in dataclasses.fields(methods.get(name))}
    for field in dataclasses.fields(SETTINGS[name]):
        option = OPTIONS.get((name, field.name), field.name)
        if option in defaults and field.name != "samples":
            assert field.default == defaults[option], field.name
            compared += 1
    assert compared


@pytest.mark.parametrize("dataset", ["digits", "folder:x"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_default_recipes_take_images_of_all_sizes_channels_and_classes(name, dataset):
    for size, channels, classes in ((None, 1, 2), (32, 3, 10), (48, 1, 3), (100, 3, 37), (224, 3, 1000)):
        config = flags.configure("search", method=name, dataset=dataset, **({"image_size": size} if size else {}))
        shape = (config.image_size or 8,) * 2 + (channels,)
        space = config.space()
        config.strategy(space, shape, classes)
        templates.check(space.sample(0), shape, classes)
