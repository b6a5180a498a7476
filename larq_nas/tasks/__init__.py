"""The tasks search, train, compare, rank, convert, evaluate and benchmark.

A task takes a configuration and returns a result. It keeps its files in a run directory, and logs its progress under
the name `larq_nas`. The functions of `larq_nas.api` and the commands call the tasks of the same names.
"""
