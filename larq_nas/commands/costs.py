"""The commands `larq_nas costs` and `larq_nas zoo`."""

import dataclasses
import json

from larq_nas import configs, tables, zoo
from larq_nas.tasks.errors import TaskError
from larq_nas.tasks.genotypes import count_costs, load_network


def costs(config: configs.CostsConfig) -> None:
    """Prints the costs of the network of a genotype, or of a network of the zoo, layer by layer."""
    counts = count_costs(load_network(config.genotype), *sizes(config))
    if config.json:
        print(json.dumps(counts.to_dict()))
        return
    rows = [
        (row.name, "x".join(map(str, row.kernel)), row.binary_macs, row.float_macs, row.params, row.bytes)
        for row in counts.rows
    ]
    total = ("total", "", counts.binary_macs, counts.float_macs, counts.params, counts.bytes)
    header = ("layer", "kernel", "binary MACs", "float MACs", "parameters", "bytes")
    print(tables.table([header, *rows, total]))
    print(tables.costs(counts))


def sizes(config: configs.CostsConfig | configs.DrawConfig) -> tuple:
    """The shape of the images and the number of classes: as configured, or those of the model of the zoo."""
    variant = zoo.VARIANTS.get(config.genotype)
    shape = config.input_shape or (variant.input_shape if variant else (32, 32, 3))
    return shape, config.num_classes or (variant.num_classes if variant else 10)


def list_zoo(config: configs.ZooConfig) -> None:
    """Prints a table of the models of the zoo, or of their costs."""
    names = zoo.list_models(config.pattern)
    if not names:
        raise TaskError(f"--pattern={config.pattern}: no model; there are {', '.join(zoo.list_models())}")
    if config.costs:
        _list_costs(names, config.json)
        return
    if config.json:
        print(json.dumps({name: dataclasses.asdict(zoo.VARIANTS[name]) for name in names}))
        return
    rows: list[tuple] = [("model", "parameters", "MB", "data set", "reported (%)")]
    for name in names:
        variant = zoo.VARIANTS[name]
        rows.append((name, variant.parameters, variant.memory / 1e6, variant.dataset, variant.reported))
    print(tables.table(rows))


def _list_costs(names, as_json):
    counted = {}
    for name in names:
        variant = zoo.VARIANTS[name]
        network = zoo.genotype(name) if name in zoo.GENOTYPES else zoo.Baseline(name)
        counted[name] = count_costs(network, variant.input_shape, variant.num_classes)
    if as_json:
        print(json.dumps({name: counts.to_dict() for name, counts in counted.items()}))
        return
    rows: list[tuple] = [("model", "image", "FLOPs", "BiOps", "equivalent ops", "parameters", "bytes")]
    for name, counts in counted.items():
        image = "x".join(map(str, zoo.VARIANTS[name].input_shape))
        equivalent = round(counts.equivalent_ops)
        rows.append((name, image, counts.flops, counts.biops, equivalent, counts.params, counts.bytes))
    print(tables.table(rows))
    print("FLOPs and BiOps are two for each multiply-accumulate; equivalent ops are FLOPs + BiOps / 32")
