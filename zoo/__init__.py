"""Binary networks, as Keras models: the published ones that were searched, and baselines made by hand.

```python
import larq_nas

larq_nas.zoo.list_models("bnas*")
model = larq_nas.zoo.bnas_a(num_classes=10)
```
"""

import fnmatch

from larq_nas.zoo import baselines, bnas
from larq_nas.zoo.baselines import bireal_resnet18, resnet18, vgg11, xnor_resnet18, xnor_resnet34
from larq_nas.zoo.bnas import bnas_a, bnas_b, bnas_c, bnas_d, bnas_e, bnas_f, bnas_g, bnas_h

__all__ = [
    "bireal_resnet18",
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
    "resnet18",
    "vgg11",
    "xnor_resnet18",
    "xnor_resnet34",
]

genotype = bnas.genotype
# Names of the models that have a genotype, and what is known of all of them.
GENOTYPES = tuple(bnas.VARIANTS)
VARIANTS = {**bnas.VARIANTS, **baselines.VARIANTS}


def list_models(pattern="*") -> list:
    """Names of the models.

    # Arguments
        pattern: Shell pattern, e.g. `"bnas*"`.

    # Returns
        The names that match, sorted.
    """
    return sorted(fnmatch.filter(VARIANTS, pattern))
