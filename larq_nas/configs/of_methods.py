"""Adds the options of a search method that affect its operations to other configurations."""

import dataclasses
import typing

from larq_nas.configs.searches import SearchConfig
from larq_nas.options import copied_option, options


class OfMethod:
    """A mixin of the configurations that `of_method` extends by the options of a search method."""

    searched: typing.ClassVar[type[SearchConfig]]
    method: typing.ClassVar[str]

    def search_config(self) -> SearchConfig:
        """The configuration of a search by the method, in the configured size.

        # Raises
            OptionError: If the method does not accept a value.
        """
        return self.searched(**{name: getattr(self, name) for name in _profiled(self.searched)})


def of_method(base: type, searched: type[SearchConfig]) -> type:
    """Adds the options of a search method that affect its operations to a class of configurations.

    # Arguments
        base: A subclass of `OfMethod` and of `options.Config`.
        searched: The `SearchConfig` of the method.

    # Returns
        A subclass of `base`.
    """
    fields = [copied_option(searched, name) for name in _profiled(searched)]
    own = {"searched": searched, "method": searched.method}
    return dataclasses.make_dataclass(base.__name__, fields, bases=(base,), namespace=own, frozen=True, kw_only=True)


def _profiled(searched):
    return [name for name, option in options(searched).items() if option.profiled]
