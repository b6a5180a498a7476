"""A training step of a grouped convolution, as Keras computes it on CPUs (compiled by XLA) and as `larq_nas` does.

python benchmarks/grouped_convolution.py
"""

import time

import larq_nas  # noqa: F401
from larq_nas.__main__ import load_tensorflow
from larq_nas.layers import convolutional

tf = load_tensorflow()


def milliseconds(layer, x, steps):
    """The shortest time of forward and backward pass."""
    layer(x)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_weights)

    step()
    times = []
    for _ in range(steps):
        begin = time.perf_counter()
        step()[0].numpy()
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def main():
    for size, filters, groups in ((8, 48, 12), (16, 36, 12), (32, 36, 12)):
        x = tf.random.normal([32, size, size, filters])
        options = {"groups": groups, "padding": "same"}
        figures = [
            milliseconds(layer(filters, 5, **options), x, 3)
            for layer in (tf.keras.layers.Conv2D, convolutional.GroupedConv2D)
        ]
        print(
            f"{size}x{size}, {filters} channels in {groups} groups: Keras {figures[0]:.1f} ms, here {figures[1]:.1f} ms"
        )


if __name__ == "__main__":
    main()
