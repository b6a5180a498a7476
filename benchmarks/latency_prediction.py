"""How well a latency table predicts whole networks: the prediction against the time of the file, on this machine.

larq_nas benchmark --profile_operations --method=bnas --filters=36 --layers=20 --run_dir=runs/table
larq_nas benchmark --profile_operations --method=bars --filters=64 --run_dir=runs/table
larq_nas benchmark --profile_operations --method=bats --filters=36 --layers=20 --run_dir=runs/table
larq_nas benchmark --profile_operations --method=dms --backbone=vgg11 --run_dir=runs/table
larq_nas benchmark --profile_operations --method=dms --backbone=resnet18 --run_dir=runs/table
python benchmarks/latency_prediction.py runs/table/latency.json
"""

import argparse

import numpy as np

from larq_nas import benchmark, latency, networks, profiling, zoo
from larq_nas.converters import tflite
from larq_nas.methods import bars, bnas

tf = profiling.tf

MODELS = ("bnas_a", "bars_a", "bars_b", "bars_c", "bats", "dms_vgg11_a", "dms_vgg11_b", "dms_resnet18_b")


class Fitted(latency.Table):
    """A table that does not look up what was measured."""

    def ms(self, block):
        return float(self.fitted(block))


def genotypes(count: int):
    """Networks of the zoo, then random ones, by name."""
    for name in MODELS:
        yield name, zoo.genotype(name)
    space, wide = bnas.space(20, 36), bars.space(64)
    even = {name: np.full(shape, 1 / shape[-1]) for name, shape in networks.choice_shapes(wide).items()}
    for seed in range(count):
        yield f"bnas, random {seed}", space.sample(seed)
        yield f"bars, random {seed}", bars.decide(wide, bars.draw(even, np.random.default_rng(seed)))


def main():
    """Prints a line for each network, and the mean error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table")
    parser.add_argument("--random", type=int, default=3, help="random genotypes of BNAS and of BARS, each")
    parser.add_argument("--runs", type=int, default=30)
    arguments = parser.parse_args()
    table = latency.Table.load(arguments.table)
    fitted = Fitted(table.measured, table.overhead)
    errors = {"measured": [], "fitted": []}
    print("| network | predicted ms | by the fit alone | measured ms |\n|---|---|---|---|")
    with benchmark.open_device("host") as device:
        for name, genotype in genotypes(arguments.random):
            model = profiling.with_statistics(networks.build(genotype))
            content = tflite.to_flatbuffer(model)
            ms = device.measure(content, benchmark.Options(runs=arguments.runs)).latency_ms["median"]
            predictions = {"measured": table.predict(genotype), "fitted": fitted.predict(genotype)}
            for kind, predicted in predictions.items():
                errors[kind].append(abs(predicted / ms - 1))
            print(f"| {name} | {predictions['measured']:.2f} | {predictions['fitted']:.2f} | {ms:.2f} |", flush=True)
            tf.keras.backend.clear_session()
    for kind, values in errors.items():
        print(f"{kind}: mean error {np.mean(values):.1%}, largest {np.max(values):.1%}")


if __name__ == "__main__":
    main()
