"""From an `Architecture` to a network: operations, cells and templates, written once against the layer verbs.

`builder.Builder` makes Keras layers of a network, `counting.Counter` counts what it costs.

```python
from larq_nas import networks, zoo

model = networks.build(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)
```

`build` makes the final network of a genotype and the supernet of a space alike. The network of a space has further
inputs: for every searched cell, by its name, the weights with which candidate operations are mixed.
"""

import importlib

from larq_nas.networks.templates import NetworkError

__all__ = ["NetworkError", "build", "with_auxiliary_classifier", "with_float_kernels"]
# These names need TensorFlow, and load it.
_MODELS = ("build", "finish", "start", "with_auxiliary_classifier", "with_float_kernels")


def __getattr__(name):
    if name not in _MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("larq_nas.networks.models"), name)
