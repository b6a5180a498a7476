import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import larq_nas  # noqa: E402, F401, I001  (makes tf.keras Keras 2 before anything loads TensorFlow)
import custom_gradients  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture(scope="module", autouse=True)
def forget_custom_gradients():
    """Frees the networks of a file of tests, which the gradients of their `tf.custom_gradient` functions hold."""
    yield
    custom_gradients.forget()
