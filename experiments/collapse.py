"""The gradients that the logits of a search receive.

The weights of a supernet are trained for some steps with even logits. Then the gradient of each logit is measured over
many batches of the half of the images on which the architecture is trained. An operation whose logit has a gradient far
from 0 in all cells alike is preferred or rejected regardless of its place, which leads to a collapse. With
`--permuted`, the labels of these batches are permuted: a preference that remains has nothing to do with the images.

    python experiments/collapse.py --method=bars --dataset=digits --steps=200 --batches=40
"""

import argparse

import numpy as np

from larq_nas import datasets, flags


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="bnas", help="bnas, bars or bats")
    parser.add_argument("--dataset", default="digits", help="a data set of larq_nas; its recipe for searches is used")
    parser.add_argument("--steps", type=int, default=200, help="steps in which the weights are trained first")
    parser.add_argument("--batches", type=int, default=40, help="batches over which gradients are measured")
    parser.add_argument("--permuted", action="store_true", help="permute the labels of these batches")
    parser.add_argument("--set", nargs="*", default=[], help="other options of the search, e.g. normalize=false")
    arguments = parser.parse_args()
    options = dict(word.split("=", 1) for word in arguments.set)
    config = flags.configure("search", method=arguments.method, dataset=arguments.dataset, **options)
    data = datasets.load(config.dataset, image_size=config.image_size, data_dir=config.data_dir)
    model = supernet(config, data)
    batches = iter(training_batches(config, data))
    loss = train(model, batches, arguments.steps)
    print(f"{arguments.method} on {arguments.dataset}: loss {loss:.3f} after {arguments.steps} steps of the weights\n")
    for name, (mean, deviation) in gradients(model, batches, arguments.batches, arguments.permuted).items():
        print(row(model.space, name, mean, deviation, arguments.batches))


def supernet(config, data):
    """Returns the compiled supernet of a search."""
    from larq_nas import supernet, training

    space, classes = config.space(), len(data.class_names)
    strategy = config.strategy(space, data.image_shape, classes)
    model = supernet.Supernet(strategy, space, data.image_shape, classes)
    training.compile_supernet(model, config.learning_rate, config)
    return model


def training_batches(config, data):
    """Returns endless pairs of batches: of the weights, and of the architecture."""
    import tensorflow as tf

    options = {"epochs": 1000, "seed": config.seed, "augmentation": config.augmentation}
    halves = zip(data.halves, data.half_sizes, strict=True)
    found = [datasets.training_batches(data, half, size, config.batch_size, **options) for half, size in halves]
    return tf.data.Dataset.zip(tuple(found))


def train(model, batches, steps):
    """Trains the weights and returns the mean loss of the last ten steps."""
    import tensorflow as tf

    step = tf.function(model._weights_step)
    losses = []
    for _ in range(steps):
        (images, labels), _ = next(batches)
        model.reset_metrics()
        step(images, labels)
        losses.append(float(model.metrics[0].result()))
    return np.mean(losses[-10:])


def gradients(model, batches, count, permuted):
    """Returns the mean and the deviation of the gradient of each logit over batches, by the name of the choice."""
    import tensorflow as tf

    @tf.function
    def gradient(images, labels):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(model.logits.values()))
            weights = model.strategy.choice_weights(model.logits, model.epoch, model.random)
            predictions = model.network({"images": images, **weights}, training=True)
            loss = tf.reduce_mean(model.loss.call(labels, predictions))
        return tape.gradient(loss, model.logits)

    found, generator = [], np.random.default_rng(0)
    for _ in range(count):
        _, (images, labels) = next(batches)
        found.append(gradient(images, generator.permutation(labels) if permuted else labels))
    stacked = {name: np.stack([one[name] for one in found]) for name in model.logits}
    return {name: (values.mean(axis=0), values.std(axis=0)) for name, values in stacked.items()}


def row(space, name, mean, deviation, count):
    """Returns a line for each candidate of a choice.

    It has the mean gradient over the edges, times 1000, the standard error of this mean over batches, and the number of
    edges on which the candidate has the lowest gradient, which is the one that grows most.
    """
    mean, deviation = np.atleast_2d(mean), np.atleast_2d(deviation)
    if name.startswith("stage"):
        stage = space.stages[int(name.partition("_")[0].removeprefix("stage"))]
        labels = stage.widths if name.endswith("width") else stage.depths
    else:
        labels = space.cell(name).edges[0].operations
    first = np.bincount(np.argmin(mean, axis=1), minlength=mean.shape[1])
    error = deviation.mean(axis=0) / np.sqrt(count * len(mean))
    return "\n".join(
        f"{name:14} {label!s:22} {1000 * value:8.3f} ± {1000 * spread:6.3f}   first on {edges} of {len(mean)}"
        for label, value, spread, edges in zip(labels, mean.mean(axis=0), error, first, strict=True)
    )


if __name__ == "__main__":
    main()
