"""The networks of architectures: operations, cells and templates.

The code of a network calls layer verbs such as `conv` and `norm` of an interpreter. The interpreter `builder.Builder`
makes Keras layers. The interpreter `counting.Counter` counts what the same layers cost.

```python
from larq_nas import networks, zoo

model = networks.build(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), classes=10)
```

`build` makes the final network of a genotype or the supernet of a space. A supernet has further inputs: for each
searched cell, an input with the name of the cell takes the weights that mix the candidate operations.
"""

import importlib

from larq_nas.networks.templates import NetworkError

__all__ = ["NetworkError", "build", "with_auxiliary_classifier", "with_float_kernels"]
# Access to these names imports TensorFlow.
_MODELS = ("build", "finish", "start", "with_auxiliary_classifier", "with_float_kernels")


def __getattr__(name):
    if name not in _MODELS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("larq_nas.networks.models"), name)
