"""Charts of results, and drawings of cells and networks.

```python
from larq_nas import plots, zoo

genotype = zoo.genotype("bnas_a")
plots.save(plots.draw(genotype), "bnas_a.svg")  # all cells and the network
```

`cell` and `network` draw on `Axes` of your own. This module needs matplotlib only when something is drawn.
"""

from larq_nas.plots.charts import scatter, write
from larq_nas.plots.drawings import cell, draw, network, save

__all__ = ["cell", "draw", "network", "save", "scatter", "write"]
