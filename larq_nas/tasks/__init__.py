"""The tasks: search, train, convert, evaluate and benchmark, each from a configuration to its result.

A task keeps its files in a run directory, logs what it does under the name `larq_nas`, and returns its result.
`larq_nas.search`, `larq_nas.train` and so on call them, as the commands of the same names do.
"""
