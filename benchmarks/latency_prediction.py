"""How well the times of single operations predict whole networks, on this machine.

    python benchmarks/latency_prediction.py [--table=latency.json]

The operations of each network are measured right before the network, since the speed of a shared machine drifts: their
sum is the prediction. With `--table` that of a table which was measured before stands beside it, and what its fit alone
predicts.
"""

import argparse

import numpy as np

from larq_nas import latency, networks, zoo
from larq_nas.__main__ import load_tensorflow
from larq_nas.devices import timing
from larq_nas.methods import bars, bnas
from larq_nas.space.choices import choice_shapes

MODELS = ("bnas_a", "bars_a", "bars_b", "bars_c", "bats", "dms_vgg11_a", "dms_vgg11_b", "dms_resnet18_b")


class Fitted(latency.Table):
    """A table that does not look up what was measured."""

    def ms(self, block):
        return float(self.estimate(block))


def genotypes(count: int):
    """Networks of the zoo, then random ones, by name."""
    for name in MODELS:
        yield name, zoo.genotype(name)
    space, wide = bnas.space(20, 36), bars.space(64)
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in choice_shapes(wide).items()}
    for seed in range(count):
        yield f"bnas, random {seed}", space.sample(seed)
        yield f"bars, random {seed}", bars.decide(wide, bars.draw(even, np.random.default_rng(seed)))


def main():
    """Prints a line for each network, and the mean errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", help="a latency.json of larq_nas benchmark --profile_operations")
    parser.add_argument("--random", type=int, default=2, help="random genotypes of BNAS and of BARS, each")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    tf = load_tensorflow()
    from larq_nas.converters import tflite
    from larq_nas.devices import profiling

    given = arguments.table and latency.Table.load(arguments.table)
    columns = ["operations"] + ["table", "fit of the table"] * bool(given)
    errors = {name: [] for name in columns}
    options = timing.Options(runs=arguments.runs)
    print(f"| network | measured ms | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 2)}")
    with timing.open_device("host") as device:
        for name, genotype in genotypes(arguments.random):
            content = tflite.to_flatbuffer(profiling.with_statistics(networks.build(genotype)))
            *_, own = profiling.measure(latency.blocks(genotype, (32, 32, 3), 10), device, options)
            ms = device.measure(content, options).latency_ms["median"]
            tables = [own] + ([given, Fitted(given.measured, given.overhead)] if given else [])
            predictions = [table.predict(genotype) for table in tables]
            for column, predicted in zip(columns, predictions, strict=True):
                errors[column].append(abs(predicted / ms - 1))
            print(f"| {name} | {ms:.2f} | {' | '.join(f'{p:.2f}' for p in predictions)} |", flush=True)
            tf.keras.backend.clear_session()
    for column, values in errors.items():
        print(f"{column}: mean error {np.mean(values):.1%}, largest {np.max(values):.1%}")


if __name__ == "__main__":
    main()
