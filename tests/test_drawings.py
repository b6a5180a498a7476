"""Drawings of cells and networks, and the command that writes them."""

import itertools
import re
import sys
from xml.etree import ElementTree

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from larq_nas import __main__ as main
from larq_nas import plots, zoo
from larq_nas.methods import bars, bats, bnas, dms
from larq_nas.networks import operations
from larq_nas.space.architecture import Cell, Edge, Node

CELLS = {f"{name} {cell.name}": cell for name in ("bnas_a", "bars_c", "bats") for cell in zoo.genotype(name).cells}
CELLS["space"] = bats.space(3, 8, 4).cells[0]


def _drawn(cell):
    figure = Figure()
    axes = figure.add_subplot()
    plots.cell(axes, cell)
    figure.draw_without_rendering()
    return axes


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_each_edge_is_a_box_with_the_name_of_its_operation_and_nothing_overlaps(cell):
    axes = _drawn(cell)
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)]
    shown = sorted(text.get_text().replace("\n", " ") for text in axes.texts)
    labels = [
        edge.operations[0].replace("_", " ") if len(edge.operations) == 1 else f"{len(edge.operations)} candidates"
        for edge in cell.edges
    ]
    states = {edge.source for edge in cell.edges if edge.source < (2 if len(cell.edges) in (8, 14) else 1)}
    others = [f"input {state}" for state in states] + [f"node {index}" for index in range(len(cell.nodes))]
    assert shown == sorted([*labels, *others, "concat", *["+"] * len(cell.nodes)])
    # One box for each edge, and one for the concatenation.
    assert len(boxes) == len(cell.edges) + 1
    extents = [box.get_window_extent() for box in boxes]
    assert not any(first.overlaps(second) for first, second in itertools.combinations(extents, 2))
    written = [text.get_window_extent() for text in axes.texts if "concat" not in text.get_text()]
    assert not any(first.overlaps(second) for first, second in itertools.combinations(written, 2))


def test_what_is_none_is_faint_and_kinds_have_colours_of_their_own():
    operations.register("own", lambda v, x, filters, strides, name: x, kernel_size=1)
    try:
        names = ("none", "max_pool_3x3", "bin_conv_3x3", "bin_dil_conv_3x3", "group_conv_3x3", "shortcut", "own")
        cell = Cell("one", tuple(Node((Edge(0, (name,)),), 1) for name in names))
        axes = _drawn(cell)
    finally:
        operations.unregister("own")
    boxes = [patch for patch in axes.patches if isinstance(patch, FancyBboxPatch)][: len(names)]
    colors = dict(zip(names, (box.get_facecolor() for box in boxes), strict=True))
    # Convolutions of all methods have one colour, dilated ones another.
    assert colors["bin_conv_3x3"] == colors["group_conv_3x3"] and len(set(colors.values())) == len(names) - 1
    assert [box.get_linestyle() for box in boxes] == [":"] + ["-"] * (len(names) - 1)


@pytest.mark.parametrize(("name", "shape"), [("bnas_a", (32, 32, 3)), ("dms_vgg11_a", (48, 40, 1)), ("bars_d", None)])
def test_the_network_has_a_bar_for_each_cell_or_layer(name, shape):
    figure = Figure()
    axes = figure.add_subplot()
    architecture, shape = zoo.genotype(name), shape or zoo.VARIANTS[name].input_shape
    plots.network(axes, architecture, shape, 10)
    heights = [bar.get_height() for bar in axes.patches]
    depth = sum(stage.depths[0] + bool(stage.reduction) for stage in architecture.stages)
    names = [label.get_text() for label in axes.get_xticklabels()]
    stems = [name for name in names if name.startswith("stem")]
    assert len(heights) == len(names) == depth + len(stems) + 1 and heights[-1] == 10
    assert bool(stems) == bool(architecture.cells)
    if not stems:
        assert heights[:-1] == [stage.widths[0] for stage in architecture.stages]
    sizes = [tuple(map(int, size)) for size in re.findall(r"(\d+)x(\d+)", " ".join(t.get_text() for t in axes.texts))]
    assert sizes == sorted(set(sizes), reverse=True) and len(sizes) > 2


def test_the_command_draws_files_runs_and_the_zoo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/genotype.json").write_text(bars.space(8, 1).sample(0).to_json())
    (tmp_path / "space.json").write_text(bnas.space(3, 4).to_json())
    for given, files in {
        "run": ["run/genotype.svg", "run/genotype.png"],
        "space.json": ["space.svg", "space.png"],
        "vgg11": ["vgg11.svg", "vgg11.png"],
    }.items():
        assert main.main(["draw", f"--genotype={given}"]) == 0
        assert capsys.readouterr().out.split() == files
        assert (tmp_path / files[1]).read_bytes().startswith(b"\x89PNG")
    # The texts can be found.
    texts = "".join(ElementTree.parse(tmp_path / "run/genotype.svg").getroot().itertext())
    assert "residual bin" in texts and "stage" not in texts and "classifier" in texts
    assert main.main(["draw", "--genotype=bnas_a", "--output=pictures/cell.pdf"]) == 0
    assert (tmp_path / "pictures/cell.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--genotype=nope"], 3, "nope: no such file, and no network of the zoo"),
        (["--genotype=xnor_resnet18"], 3, "xnor_resnet18: is a network made by hand, which has no genotype to draw"),
        (["--genotype=empty"], 3, "empty/genotype.json: no such file"),
        (["--genotype=bnas_a", "--output=x.gif"], 1, "give a path that ends in .svg, .png or .pdf"),
        (["--genotype=dms_vgg11_a", "--input_shape=16,16,3"], 3, "is too small"),
        (["--genotype=empty/widths"], 3, "a space of widths alone cannot be drawn; give a genotype"),
    ],
)
def test_what_cannot_be_drawn_is_one_clear_line(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/widths").write_text(dms.DmsConfig().tuned_space().to_json())
    assert main.main(["draw", *words]) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and said in errors[0] and not list(tmp_path.glob("*.*"))


def test_without_matplotlib_the_command_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main.main(["draw", "--genotype=bnas_a"]) == 3
    assert "drawings need matplotlib; pip install matplotlib" in capsys.readouterr().err
