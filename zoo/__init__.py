"""Published binary networks, as Keras models.

```python
import larq_nas

larq_nas.zoo.list_models("bnas*")
model = larq_nas.zoo.bnas_a(num_classes=10)
```
"""

import fnmatch

from larq_nas.zoo import bnas
from larq_nas.zoo.bnas import bnas_a, bnas_b, bnas_c, bnas_d, bnas_e, bnas_f, bnas_g, bnas_h

__all__ = [
    "bnas_a",
    "bnas_b",
    "bnas_c",
    "bnas_d",
    "bnas_e",
    "bnas_f",
    "bnas_g",
    "bnas_h",
    "genotype",
    "list_models",
]

genotype = bnas.genotype


def list_models(pattern="*") -> list:
    """Names of the models.

    # Arguments
        pattern: Shell pattern, e.g. `"bnas*"`.

    # Returns
        The names that match, sorted.
    """
    return sorted(fnmatch.filter(bnas.VARIANTS, pattern))
