"""The networks of architectures: operations, cells and templates.

The code of a network calls layer verbs such as `conv` and `norm` of an interpreter. The interpreter `builder.Builder`
makes Keras layers. The interpreter `counting.Counter` counts what the same layers cost.

```python
from larq_nas import networks, zoo

model = networks.build(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), num_classes=10)
```

`build` makes the final network of a genotype or the supernet of a space. A supernet has further inputs: for each
searched cell, an input with the name of the cell takes the weights that mix the candidate operations.
"""

from larq_nas import lazy
from larq_nas.networks import operations
from larq_nas.networks.templates import NetworkError

__all__ = ["NetworkError", "build", "operations", "with_float_kernels"]

_NAMES = ("build", "finish", "start", "with_float_kernels")
__getattr__ = lazy.attributes(__name__, dict.fromkeys(_NAMES, "models"))
