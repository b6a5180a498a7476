"""Charts of results, and drawings of cells, networks and searches.

```python
from larq_nas import plots, zoo

genotype = zoo.genotype("bnas_a")
plots.save(plots.draw(genotype), "bnas_a.svg")  # all cells and the network
```

`cell` and `network` draw on `Axes` of your own. `read` reads what a search has written after each epoch, and `search`
and `animation` draw it. This module needs matplotlib only when something is drawn.
"""

from larq_nas import lazy
from larq_nas.plots.charts import scatter, write
from larq_nas.plots.drawings import cell, draw, network, save

__all__ = ["animation", "cell", "draw", "network", "read", "save", "scatter", "search", "write"]

__getattr__ = lazy.attributes(__name__, dict.fromkeys(("animation", "read", "search"), "searches"))
