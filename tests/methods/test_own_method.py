"""An operation, a template and a method that this file defines: they need no edit anywhere else."""

import ast
import dataclasses
import json
import logging
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

import larq_nas
from larq_nas import __main__ as main
from larq_nas import configs, flags, latency, methods, options
from larq_nas.networks import blocks, cells
from larq_nas.space import registry
from larq_nas.space.architecture import Architecture, Cell, Edge, Node, Stage
from larq_nas.supernet import strategy


def pair(v, x, filters, strides, name):
    """A binary 1x3 convolution, then a binary 3x1 convolution."""
    x = v.norm(x, name=f"{name}_norm0")
    x = v.conv(x, filters, (1, 3), strides, kind="xnor", name=f"{name}_row")
    x = v.norm(x, name=f"{name}_norm1")
    return v.conv(x, filters, (3, 1), kind="xnor", name=f"{name}_column")


def network(v, architecture, images, choices):
    """A stem, then one cell for each stage. All cells except the first halve height and width."""
    x = blocks.float_block(v, images, architecture.stages[0].widths[0], 3, name="stem")
    for index, stage in enumerate(architecture.stages):
        filters = stage.widths[0]
        x = blocks.convolution_block(v, x, filters, name=f"cell{index}_in")
        edges = cells.Edges(v, architecture.cell(stage.cell), filters, choice=choices.get(stage.cell))
        x = edges.nodes([x], 2 if index else 1, f"cell{index}")
    return x


names = "none", "max_pool_3x3", "pair"
nodes = Node((Edge(0, names),), 1), Node((Edge(0, names), Edge(1, names)), 2)


class Strategy(strategy.Strategy):
    """Derives the most probable operation of each edge, with a bonus for convolutions."""

    def __init__(self, preference, limit):
        self.preference, self.limit = preference, limit

    def architecture_loss(self, loss, logits, epoch):
        return self.limit.penalty(loss, self.choice_weights(logits, epoch)) if self.limit else loss

    def derive(self, space, probabilities):
        bonus = self.preference * np.array([name == "pair" for name in names])
        best, nodes = iter(np.argmax(probabilities["normal"] + bonus, axis=1)), []
        for node in space.cell("normal").nodes:
            edges = tuple(Edge(edge.source, (names[next(best)],)) for edge in node.edges)
            nodes.append(Node(edges, len(edges)))
        return dataclasses.replace(space, cells=(Cell("normal", tuple(nodes)),))


@dataclasses.dataclass(frozen=True, kw_only=True)
class ToyConfig(configs.CellSearchConfig):
    heading = "toy"

    preference: float = options.option(1.0, "bonus on the probability of convolutions", least=0)

    def space(self):
        stages = Stage("normal", (self.filters,), (1,)), Stage("normal", (2 * self.filters,), (1,))
        return Architecture("toy", (Cell("normal", nodes),), stages)

    def strategy(self, space, input_shape, num_classes):
        return Strategy(self.preference, self.limit(space, input_shape, num_classes))


@pytest.fixture(scope="module", autouse=True)
def _registered():
    larq_nas.operations.register("pair", pair, kernel_size=3)
    registry.register(registry.Template("toy", "toy", network, inputs=1, operations=names, halvings=(1, 0)))
    methods.register("toy")(ToyConfig)
    yield
    methods.unregister("toy")
    registry.unregister("toy")
    larq_nas.operations.unregister("pair")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Where the commands have run one after the other."""
    path = tmp_path_factory.mktemp("toy")
    data = ["--dataset=digits", "--train_examples=256"]
    for words in (
        ["search", "--method=toy", "--filters=8", "--preference=2", *data, "--epochs=1", f"--run_dir={path}/search"],
        ["train", f"--genotype={path}/search/genotype.json", *data, "--epochs=2", f"--run_dir={path}/train"],
        ["convert", f"--run_dir={path}/train"],
        ["evaluate", f"--run_dir={path}/train"],
        ["benchmark", "--profile_operations", "--method=toy", "--filters=8", "--input_shape=8,8,1", "--runs=2"]
        + ["--warmup_runs=1", f"--run_dir={path}/table"],
        ["draw", f"--genotype={path}/search"],
    ):
        assert main.main(words) == 0, words
    return path


def test_the_page_on_extending_shows_the_same_code():
    page = (pathlib.Path(__file__).parents[2] / "docs/extending.md").read_text(encoding="utf-8")
    shown = [_definitions(block) for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
    here = _definitions(pathlib.Path(__file__).read_text(encoding="utf-8"))
    for name in ("pair", "network", "Strategy", "ToyConfig"):
        assert [block[name] for block in shown if name in block] == [here[name]], name


def _definitions(code):
    """The functions and classes of a text, by name, without their decorators."""
    found = {}
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
            found[node.name] = ast.unparse(node)
    return found


def test_it_is_searched(directory):
    genotype = Architecture.load(directory / "search/genotype.json")
    assert genotype.template == "toy" and genotype.decided
    assert {edge.operations for edge in genotype.cells[0].edges} == {("pair",)}
    said = (directory / "search/flags.txt").read_text().splitlines()
    assert "--method=toy" in said and "--preference=2.0" in said


def test_it_is_trained_converted_and_evaluated(directory):
    report = json.loads((directory / "train/model.report.json").read_text())
    # Two cells of three pairs, and what leads into them.
    assert report["all_packed"] and len(report["binary_convolutions"]) == 2 * 3 * 2 + 2
    assert json.loads((directory / "train/evaluation.json").read_text())["agreement"] > 0.98


def test_it_is_counted(directory, capsys):
    words = ["costs", f"--genotype={directory}/train/genotype.json", "--input_shape=8,8,1", "--json"]
    assert main.main(words) == 0
    counts = json.loads(capsys.readouterr().out)
    report = json.loads((directory / "train/model.report.json").read_text())
    assert counts["binary_macs"] > 0
    binary = [layer for layer in counts["layers"] if layer["binary"]]
    assert len(binary) == len(report["binary_convolutions"])


def test_it_is_drawn(directory):
    drawn = (directory / "search/genotype.svg").read_text(encoding="utf-8")
    assert "pair" in drawn and (directory / "search/search.png").exists()


def test_it_is_timed_estimated_and_searched_within_a_latency(directory, tmp_path, caplog):
    table = latency.Table.load(directory / "table/latency.json")
    assert {block.kind for block in table.measured} >= {"pair", "max_pool_3x3".removesuffix("_3x3"), "binary", "float"}
    flags_of = {"method": "toy", "filters": 8, "train_examples": 128, "epochs": 1, "dataset": "digits"}
    limit = {"latency_table": directory / "table/latency.json", "max_latency_ms": 1000.0}
    caplog.set_level(logging.INFO, "larq_nas")
    genotype = larq_nas.search(**flags_of, **limit, run_dir=tmp_path / "run")
    assert re.search(r"supernet of [\d,]+ parameters: about .* s per epoch of 1 steps", caplog.text)
    assert 0 < table.predict(genotype, (8, 8, 1), 10) < 1000
    with pytest.raises(ValueError, match="max_latency_ms=1e-05: the fastest network of this space"):
        larq_nas.search(**flags_of, **{**limit, "max_latency_ms": 1e-5}, run_dir=tmp_path / "other")


def test_its_space_is_searched_at_random_and_by_evolution(tmp_path):
    options_of = {"space": "toy", "filters": 8, "train_examples": 64, "epochs": 1, "dataset": "digits", "samples": 2}
    options_of |= {"preference": 0.0, "finalist_epochs": 1}
    for way, more in (("random", {}), ("evolution", {"generations": 1})):
        genotype = larq_nas.search(method=way, **options_of, **more, run_dir=tmp_path / way)
        assert genotype.template == "toy" and genotype.decided
        assert json.loads((tmp_path / way / "candidates.json").read_text())


def test_it_is_listed_with_its_flags(capsys):
    assert main.main(["search", "--help"]) == 0
    assert "--method <bnas|bars|dms|bats|toy|" in capsys.readouterr().out
    assert main.main(["search", "--method=toy", "--help"]) == 0
    text = capsys.readouterr().out
    assert (
        "toy:\n  --preference: bonus on the probability of convolutions (default: 1.0)\n" in text
        and "--layers" not in text
    )
    assert main.main(["search", "--method=bnas", "--preference=1"]) == 1
    assert "--preference is no flag of --method=bnas, but of toy" in capsys.readouterr().err


ENTRY_POINTS = """[larq_nas.methods]
mine = my_method:MyConfig
broken = my_broken_method:Config
"""
MODULE = """import dataclasses
from larq_nas.methods.bnas import BnasConfig

@dataclasses.dataclass(frozen=True, kw_only=True)
class MyConfig(BnasConfig):
    pass
"""


def test_an_installed_package_makes_its_methods_known(tmp_path):
    (tmp_path / "my_method.py").write_text(MODULE)
    (tmp_path / "my_broken_method.py").write_text("raise RuntimeError('out of order')")
    (tmp_path / "mine-1.0.dist-info").mkdir()
    (tmp_path / "mine-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (tmp_path / "mine-1.0.dist-info/entry_points.txt").write_text(ENTRY_POINTS)

    def run(*words):
        return subprocess.run([sys.executable, "-m", "larq_nas", *words], cwd=tmp_path, capture_output=True, text=True)

    shown = run("search", "--method=mine", "--help")
    assert "<bnas|bars|dms|bats|mine|broken|" in shown.stdout and "--diversity" in shown.stdout, shown.stderr
    # A package that cannot be loaded stands in nobody's way.
    assert "no such file" in run("train", "--genotype=nope", "--layers=3").stderr
    assert "'foo'" in run("search", "--foo=1").stderr
    assert run("search", "--method=broken", "--help").returncode == 0
    broken = run("search", "--method=broken", "--epochs=1")
    assert broken.returncode == 1 and len(broken.stderr.splitlines()) == 1
    assert "method broken: my_broken_method:Config cannot be loaded (out of order)" in broken.stderr


def test_a_method_of_a_bad_name_or_kind_is_refused():
    for name, config, said in (
        ("bnas", ToyConfig, "is one of larq_nas"),
        ("random", ToyConfig, "is one of larq_nas"),
        ("random_toy", ToyConfig, "names that begin with random_ or evolution_ are reserved"),
        ("Toy", ToyConfig, "is not a valid name"),
        ("mine", Strategy, "is not a subclass of larq_nas.SearchConfig"),
        ("mine", ToyConfig, "ToyConfig is the method toy; register a subclass"),
    ):
        with pytest.raises(ValueError, match=said):
            methods.register(name)(config)
    assert flags.configure("search", method="toy", preference=3.0).preference == 3.0
