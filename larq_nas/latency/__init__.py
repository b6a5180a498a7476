"""Predicting the latency of networks on a device from a table of the latencies of operations.

`larq_nas benchmark --profile_operations --method=…` measures the operations of the space of a method on a device and
writes a table. Each operation is measured in files of its own. The latency of a network is the sum over its operations.
The latency of an operation that was not measured is fitted to the measured ones.

```python
from larq_nas import latency, zoo

table = latency.Table.load("latency.json")
table.predict(zoo.genotype("bnas_a"), input_shape=(32, 32, 3), num_classes=10)  # milliseconds
```
"""

from larq_nas.latency.limit import Limit, fastest
from larq_nas.latency.tables import LatencyError, Table, blocks, features

__all__ = ["LatencyError", "Limit", "Table", "blocks", "fastest", "features"]
