"""Defining and reading the absl flags of a class of configurations, which has a flag for each field."""

import dataclasses

from absl import flags as absl_flags

from larq_nas import options


def define(config: type) -> absl_flags.FlagValues:
    """Defines the flags of a class of configurations.

    # Arguments
        config: A subclass of `options.Config`.

    # Returns
        A new `absl.flags.FlagValues`. Call it with the words of a command line to parse them. In addition to the flags
        of the fields, it has the flag `--verbosity`.
    """
    values = absl_flags.FlagValues()
    for field in dataclasses.fields(config):
        _define(config, field, values)
    # The flag `--verbosity` of absl would set the level of absl's log as soon as it is defined.
    absl_flags.DEFINE_integer("verbosity", None, "which messages are shown", short_name="v", flag_values=values)
    return values


def _define(config, field, values):
    option, kind = field.metadata["option"], options.kind_of(config, field.name)
    missing = field.default is dataclasses.MISSING
    common = {"flag_values": values, "required": missing}
    name, default, text = field.name, None if missing else field.default, option.help
    bounds = {"lower_bound": option.least, "upper_bound": option.most}
    if option.choices:
        default = None if default is None else str(default)
        absl_flags.DEFINE_enum(name, default, list(map(str, option.choices)), text, **common)
    elif kind.several:
        absl_flags.DEFINE_list(name, None if default is None else list(map(str, default)), text, **common)
    elif kind.type is bool:
        absl_flags.DEFINE_bool(name, default, text, **common)
    elif kind.type is int:
        absl_flags.DEFINE_integer(name, default, text, **bounds, **common)
    elif kind.type is float:
        absl_flags.DEFINE_float(name, default, text, **bounds, **common)
    else:
        absl_flags.DEFINE_string(name, default, text, **common)
    if option.check is not None:
        absl_flags.register_validator(
            name, lambda value: _is_accepted(value, option, kind), option.accepted, flag_values=values
        )


def _is_accepted(value, option, kind):
    try:
        return value is None or option.check(_converted(value, kind))
    except ValueError:
        return False


def _converted(value, kind):
    if kind.several and value is not None:
        return tuple(map(kind.type, value))
    # Choices are texts on the command line.
    return kind.type(value) if isinstance(value, str) else value


def read(config: type, values: absl_flags.FlagValues) -> dict:
    """Reads the values of parsed flags as values of the fields of a configuration.

    # Arguments
        config: The subclass of `options.Config` whose flags were defined.
        values: The flags after parsing.

    # Returns
        A dictionary of the names of the fields to their values.
    """
    return {name: _converted(values[name].value, options.kind_of(config, name)) for name in options.options(config)}
