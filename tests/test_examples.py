"""The examples of the README and of the docstrings, as a user would paste them."""

import importlib
import inspect
import json
import pathlib
import re

import pytest

EXTENDING = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"
README = pathlib.Path(__file__).parents[1] / "README.md"


def _blocks(text):
    return re.findall(r"```python\n(.*?)```", inspect.cleandoc(text), re.DOTALL)


@pytest.mark.slow
def test_the_readme_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    blocks = _blocks(README.read_text(encoding="utf-8"))
    assert len(blocks) == 5
    for block in blocks:
        # A smaller image makes the same network faster.
        exec(block.replace("zoo.bnas_a()", "zoo.bnas_a(input_shape=(8, 8, 3))"), names)
    assert (tmp_path / "model.tflite").stat().st_size > 0


@pytest.mark.parametrize(
    "name",
    [
        *[
            "",
            "space.architecture",
            "networks.blocks",
            "networks.operations",
            "networks.counting",
            "costs.expected_costs",
            "layers.width_masks",
            "methods",
            "networks",
            "options",
            "plots",
            "layers.quantizers",
            "datasets",
            "zoo",
        ],
        "converters.tflite",
    ],
)
def test_the_example_of_a_module_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"larq_nas.{name}".rstrip("."))
    (block,) = _blocks(module.__doc__)
    if "tflite" in name:
        # A smaller network is converted sooner.
        genotype = "larq_nas.methods.bnas.scale(larq_nas.zoo.genotype('bnas_a'), filters=4, layers=3)"
        block = f"import larq_nas\nmodel = larq_nas.networks.build({genotype}, (8, 8, 3), 10)\n" + block
    exec(block, {"path": tmp_path / "model.tflite"})


def test_own_operations_templates_and_methods_are_made_as_described(tmp_path, monkeypatch):
    from larq_nas import costs, methods
    from larq_nas.networks import operations
    from larq_nas.space import registry

    monkeypatch.chdir(tmp_path)
    names = {}
    try:
        for block in _blocks(EXTENDING.read_text(encoding="utf-8")):
            exec(block, names)
        counted = costs.count(names["genotype"], (32, 32, 3), 10)
        assert counted.binary_macs == costs.count(names["model"]).binary_macs > 0
        report = json.loads((tmp_path / "runs/toy/model.report.json").read_text(encoding="utf-8"))
        assert report["all_packed"] and report["operators"]["LceBconv2d"] == 2 * 3 * 2 + 2
    finally:
        methods.unregister("toy")
        registry.unregister("toy")
        operations.unregister("pair")


@pytest.mark.slow
def test_the_example_of_the_supernet_runs():
    supernet = importlib.import_module("larq_nas.supernet")
    (block,) = _blocks(supernet.__doc__)
    import tensorflow as tf

    data = tf.data.Dataset.from_tensors((tf.zeros([4, 32, 32, 3]), tf.zeros([4], tf.int64)))
    block = block.replace("bnas.space()", "bnas.space(3, 2)").replace("epochs=50", "epochs=1")
    exec(block, {"tf": tf, "first_half": data, "second_half": data})
