"""The options of a search or a training that `larq_nas tune` changes, and the values that they may have."""

from collections.abc import Iterable

import keras_tuner

from larq_nas import options
from larq_nas.options import OptionError

# Options that say where files are, what is trained on and on which devices, and how a trial is judged.
_FIXED = {
    "run_dir",
    "overwrite",
    "data_dir",
    "dataset",
    "distribute",
    "image_size",
    "channels",
    "train_examples",
    "permute_labels",
    "seed",
    "validation_fraction",
}


def hyperparameters(config: options.Config, texts: Iterable[str]) -> keras_tuner.HyperParameters:
    """Makes hyperparameters from texts.

    # Arguments
        config: The configuration whose options are tuned. All values are checked against it.
        texts: A text for each option: `NAME:LOW..HIGH` for a range, which is logarithmic if `LOW` is positive, or
            `NAME:A|B|C` for a list of values.

    # Returns
        A `keras_tuner.HyperParameters`.

    # Raises
        OptionError: If an option cannot be tuned, or if it does not accept a value.
    """
    found, known = keras_tuner.HyperParameters(), options.options(config)
    owner: type = type(config)
    kinds = {name: options.kind_of(owner, name) for name in known}
    for text in texts:
        name, _, given = text.partition(":")
        if name not in known or name in _FIXED:
            lists = {name for name in known if kinds[name].several}
            accepted = ", ".join(name for name in known if name not in _FIXED | lists)
            raise OptionError(f"tuned={text}: {name} is no option that can be tuned; accepted are {accepted}")
        kind = kinds[name]
        low, dots, high = given.partition("..")
        values = [_converted(word, kind, text) for word in ((low, high) if dots else given.split("|"))]
        for value in values:
            config.replace(**{name: value})
        if not dots:
            found.Choice(name, values)
        elif kind.type not in (int, float) or values[0] >= values[1]:
            raise OptionError(f"tuned={text}: a range needs a number and a higher one, e.g. learning_rate:0.001..0.1")
        else:
            make = found.Int if kind.type is int else found.Float
            make(name, *values, sampling="log" if values[0] > 0 else "linear")
    return found


def _converted(word, kind, text):
    if kind.several:
        raise OptionError(f"tuned={text}: an option that is a list cannot be tuned")
    try:
        if kind.type is bool:
            return {"true": True, "false": False}[word]
        return word if kind.type is str else kind.type(word)
    except (KeyError, ValueError):
        raise OptionError(f"tuned={text}: {word!r} is no {kind.type.__name__}") from None
