"""The configurations of the commands that print costs, draw networks, and list the zoo."""

import dataclasses

from larq_nas.configs.shared import shape_option
from larq_nas.options import Config, changed_default, option


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostsConfig(Config):
    """The configuration of `larq_nas costs`."""

    genotype: str = option(help="a genotype.json file, or the name of a zoo model", is_path=True)
    input_shape: tuple[int, ...] | None = shape_option(
        None,
        "height, width and channels of the images; those of the zoo model, or 32,32,3, by default",
    )
    num_classes: int | None = option(None, "number of classes; that of the zoo model, or 10, by default", least=1)
    json: bool = option(False, "print JSON instead of a table")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DrawConfig(Config):
    """The configuration of `larq_nas draw`."""

    genotype: str = option(
        help="a genotype.json file, the directory of a search or a training, or the name of a zoo model", is_path=True
    )
    output: str | None = option(
        None,
        "path of the drawing; by default, an .svg and a .png file beside the genotype or, for a zoo model, here",
        is_path=True,
        check=lambda path: path.lower().endswith((".svg", ".png", ".pdf")),
        accepted="give a path that ends in .svg, .png or .pdf",
    )
    input_shape: tuple[int, ...] | None = changed_default(CostsConfig, "input_shape", None)
    num_classes: int | None = changed_default(CostsConfig, "num_classes", None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZooConfig(Config):
    """The configuration of `larq_nas zoo`."""

    pattern: str = option("*", "pattern of the names of the models to list, e.g. bnas*")
    costs: bool = option(False, "show the operations, parameters and bytes of each model")
    json: bool = option(False, "print JSON instead of a table")
