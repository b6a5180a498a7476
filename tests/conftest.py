import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import larq_nas  # noqa: E402, F401  (makes tf.keras Keras 2 before anything loads TensorFlow)
