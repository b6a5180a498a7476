"""Keras models of binary networks: networks that were searched, and hand-made baselines.

```python
import larq_nas

larq_nas.zoo.list_models("bnas*")
model = larq_nas.zoo.bnas_a(num_classes=10)
```
"""

import fnmatch

from larq_nas.space.architecture import Architecture
from larq_nas.zoo import bars, baselines, bats_networks, bnas, dms
from larq_nas.zoo.bars import bars_a, bars_b, bars_c, bars_d, bars_e
from larq_nas.zoo.baselines import Baseline, bireal_resnet18, resnet18, vgg11, xnor_resnet18, xnor_resnet34
from larq_nas.zoo.bats_networks import bats, bats_2x, bats_real_2_5m, bats_real_3_5m
from larq_nas.zoo.bnas import bnas_a, bnas_b, bnas_c, bnas_d, bnas_e, bnas_f, bnas_g, bnas_h
from larq_nas.zoo.dms import dms_resnet18_a, dms_resnet18_b, dms_vgg11_a, dms_vgg11_b
from larq_nas.zoo.variants import load_genotype

__all__ = [
    "Baseline",
    "bars_a",
    "bars_b",
    "bars_c",
    "bars_d",
    "bars_e",
    "bats",
    "bats_2x",
    "bats_real_2_5m",
    "bats_real_3_5m",
    "bireal_resnet18",
    "bnas_a",
    "bnas_b",
    "bnas_c",
    "bnas_d",
    "bnas_e",
    "bnas_f",
    "bnas_g",
    "bnas_h",
    "dms_resnet18_a",
    "dms_resnet18_b",
    "dms_vgg11_a",
    "dms_vgg11_b",
    "genotype",
    "list_models",
    "resnet18",
    "vgg11",
    "xnor_resnet18",
    "xnor_resnet34",
]

# `GENOTYPES` are the names of the models that have a genotype; `VARIANTS` has the facts about all models.
_SEARCHED = bnas.VARIANTS | bars.VARIANTS | dms.VARIANTS | bats_networks.VARIANTS
GENOTYPES = tuple(_SEARCHED)
VARIANTS = _SEARCHED | baselines.VARIANTS


def genotype(name: str) -> Architecture:
    """Returns the genotype of a model of the zoo.

    # Arguments
        name: One of `GENOTYPES`.

    # Returns
        An `Architecture`. If larq_nas found the genotype, its `provenance` describes the search.

    # Raises
        ValueError: If the zoo has no genotype of that name.
    """
    if name not in GENOTYPES:
        raise ValueError(f"no genotype {name!r}; accepted: {', '.join(GENOTYPES)}")
    return load_genotype(name)


def list_models(pattern: str = "*") -> list:
    """Lists the models of the zoo.

    # Arguments
        pattern: Shell pattern, e.g. `"bnas*"`.

    # Returns
        A sorted list of the names that match.
    """
    return sorted(fnmatch.filter(VARIANTS, pattern))
