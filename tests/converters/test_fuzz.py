"""Random models through Larq Compute Engine alone and through our conversion: what it makes right stays right."""

import larq_compute_engine
import numpy as np
import pytest
from random_models import random_model

from larq_nas.converters import comparison, flatbuffer, tflite
from larq_nas.converters.interpreter import ConversionError


def _raw_is_right(model):
    """Whether LCE alone gives a file that computes what Keras does."""
    images = np.random.default_rng(0).normal(size=(8, *model.input_shape[1:])).astype(np.float32)
    try:
        content = larq_compute_engine.convert_keras_model(model)
        actual = comparison.of_file(content, images, ["output"], flatbuffer.read(content).outputs)
    except Exception:  # Whatever LCE raises: it gives no file that runs.
        return False
    others = list(comparison.shifted(model, images))
    return not comparison.judge(comparison.of_keras(model, images), actual, others).is_wrong


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(n, marks=pytest.mark.slow) for n in range(10, 300))])
def test_random_models_are_right_or_refused(seed):
    model = random_model(seed)
    try:
        report = tflite.convert(model, allow_float_fallback=True).report
    except ConversionError as error:
        assert not _raw_is_right(model), error
        return
    difference, agreement = report.differences["random"]
    assert report.unstable or (difference < 1e-2 and agreement > 0.8)
