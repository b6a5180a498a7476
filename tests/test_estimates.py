import numpy as np
import pytest
import tensorflow as tf
from reference import PerEdge

from larq_nas import estimates, mixed, networks
from larq_nas.methods import bnas


def test_the_published_supernet_needs_the_published_work():
    # 5 passes of 16 images: the 327 GFLOP of a step that benchmarks/NOTES.md gives.
    work = estimates.work(networks.build(bnas.space()))
    assert work.macs == 2_042_118_144
    assert 5 * 16 * 2 * work.macs == 326_738_903_040
    assert work.states == 8 * 5


def test_multiply_accumulates_are_those_of_an_operation_per_edge(monkeypatch):
    space = bnas.space(5, 4)
    shared = estimates.work(networks.build(space, (16, 16, 3)))
    with monkeypatch.context() as patch:
        patch.setattr(mixed, "MixedEdges", PerEdge)
        plain = networks.build(space, (16, 16, 3))
    total = 0
    for layer in plain.layers:
        convolutions = [layer] if isinstance(layer, tf.keras.layers.Conv2D) else []
        if isinstance(layer, PerEdge):
            convolutions = [part for branch in layer.branches for parts in branch for part in parts]
        shape = layer.output_shape[0] if isinstance(layer.output_shape, list) else layer.output_shape
        for convolution in convolutions:
            if isinstance(convolution, tf.keras.layers.Conv2D):
                total += int(np.prod(convolution.kernel.shape)) * shape[1] * shape[2]
    assert shared.macs == total


def test_an_estimate_grows_with_the_batch():
    network = networks.build(bnas.space(3, 4), (8, 8, 1), 10)
    small, large = (estimates.estimate(network, batch_size) for batch_size in (1, 4096))
    assert small.parameters == large.parameters == sum(np.prod(w.shape) for w in network.trainable_weights)
    assert 0 < small.seconds_per_step < large.seconds_per_step
    assert 0 < small.bytes < large.bytes
    assert large.seconds_per_epoch(10, 0) == pytest.approx(10 * large.seconds_per_step)
    assert large.seconds_per_epoch(10, 10) > large.seconds_per_epoch(10, 0)
