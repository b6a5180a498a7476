"""Pictures of searches, from the files that a search writes after each epoch."""

import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from larq_nas import __main__ as main
from larq_nas import plots, runs
from larq_nas.methods import bars, bnas
from larq_nas.space.choices import candidates_of, choice_shapes
from larq_nas.training import callbacks

EPOCHS = 3


def _searched(path, space, rows=()):
    """A run directory as a search leaves it, and the probabilities of its epochs."""
    run, generator, epochs = runs.Run(path), np.random.default_rng(0), []
    run.start("search", {"method": "bnas"})
    for epoch in range(EPOCHS):
        logits = {name: generator.normal(size=shape) for name, shape in choice_shapes(space).items()}
        epochs.append({name: tf.nn.softmax(values) for name, values in logits.items()})
        callback = callbacks.Probabilities(run.probabilities)
        callback.set_model(types.SimpleNamespace(space=space, probabilities=lambda: epochs[-1]))
        callback.on_epoch_end(epoch, {})
    for row in rows or [{"epoch": epoch, "loss": 2 - epoch, "normal/none": 3} for epoch in range(EPOCHS)]:
        run.append_row(row)
    return run, epochs


def _axes(figure, title):
    (found,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
    return found


def _texts(labels):
    return [label.get_text() for label in labels]


def test_a_picture_shows_the_metrics_and_the_probabilities_of_a_search(tmp_path):
    space = bars.space(8, 2)
    run, epochs = _searched(tmp_path, space)
    rows, choices = plots.read(run)
    assert [set(each) for each in choices] == [set(choice_shapes(space))] * EPOCHS
    figure = plots.search(rows, choices)
    # Figures with a slash are for files only.
    assert "loss" in [axes.get_title(loc="left") for axes in figure.axes]
    (line,) = _axes(figure, "loss").lines
    assert line.get_xydata().tolist() == [[1, 2], [2, 1], [3, 0]]
    for name in ("normal0", "reduce2"):
        operations = [each.replace("_", " ") for each in candidates_of(space, name)]
        edges = _axes(figure, f"{name} cell: each edge")
        np.testing.assert_allclose(edges.images[0].get_array(), epochs[-1][name])
        assert _texts(edges.get_xticklabels()) == operations
        labels = _texts(edges.get_yticklabels())
        assert labels[:3] == ["node 0 reads input 0", "node 1 reads input 0", "node 1 reads node 0"]
        assert len(labels) == len(space.cell(name).edges)
        shares = _axes(figure, f"{name} cell: mean probabilities")
        assert _texts(shares.get_legend().get_texts()) == operations[::-1]
        means = np.cumsum([np.mean(each[name], axis=0) for each in epochs], axis=1)
        for index, area in enumerate(shares.collections):
            (path,) = area.get_paths()
            highest = [path.vertices[path.vertices[:, 0] == epoch + 1, 1].max() for epoch in range(EPOCHS)]
            np.testing.assert_allclose(highest, means[:, index])
    depths = _axes(figure, "probability of each depth")
    assert _texts(depths.get_yticklabels())[:4] == ["stage0: 0", "stage0: 1", "stage0: 2", "stage1: 0"]
    expected = [np.concatenate([each[f"stage{stage}_depth"] for stage in range(3)]) for each in epochs]
    np.testing.assert_allclose(depths.images[0].get_array(), np.transpose(expected))


def test_the_widths_of_a_search_by_dms_have_a_column_for_each_round():
    rows = [{"epoch": epoch, "scale": 0.5, "ratio/conv0": 0.5 + epoch, "ratio/conv1": 1.0} for epoch in range(4)]
    figure = plots.search(rows, [])
    widths = _axes(figure, "width of each layer, as a share of the base network")
    assert widths.images[0].get_array().tolist() == [[0.5, 1.5, 2.5, 3.5], [1, 1, 1, 1]]
    assert _texts(widths.get_yticklabels()) == ["conv0", "conv1"]
    assert _axes(figure, "scale of the distributions of the widths").lines


def test_the_command_draws_a_search_that_goes_on_and_one_that_has_ended(tmp_path, capsys):
    run, _ = _searched(tmp_path / "run", bnas.space(3, 2))
    pictures = [str(run.path / name) for name in ("search.svg", "search.png", "search.gif")]
    assert main.main(["draw", f"--genotype={run.path}"]) == 0
    assert capsys.readouterr().out.split() == pictures
    with Image.open(pictures[2]) as gif:
        durations = []
        for frame in range(gif.n_frames):
            gif.seek(frame)
            durations.append(gif.info["duration"])
    assert len(durations) == EPOCHS and durations[-1] > durations[0] > 0
    runs.write(run.genotype, bnas.space(3, 2).sample(0).to_json())
    assert main.main(["draw", f"--genotype={run.path}"]) == 0
    genotype = [str(run.path / name) for name in ("genotype.svg", "genotype.png")]
    assert capsys.readouterr().out.split() == [*genotype, *pictures]
    # A search without epochs, such as a random one, has a genotype only.
    run.metrics_csv.unlink()
    for file in run.probabilities.iterdir():
        file.unlink()
    assert main.main(["draw", f"--genotype={run.path}"]) == 0
    assert capsys.readouterr().out.split() == genotype
    # A path is for the genotype alone.
    assert main.main(["draw", f"--genotype={run.path}", f"--output={tmp_path}/one.svg"]) == 0
    assert capsys.readouterr().out.split() == [f"{tmp_path}/one.svg"]
    run.genotype.unlink()
    assert main.main(["draw", f"--genotype={run.path}", f"--output={tmp_path}/two.svg"]) == 3
    assert "genotype.json: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("probabilities/epoch-001.json", "[]", "epoch-001.json: broken"),
        ("probabilities/epoch-001.json", '{"a": {"candidates": ["x"], "probabilities": [1, 2]}}', "broken"),
        ("probabilities/epoch-001.json", '{"a": {"candidates": ["x"], "probabilities": [["x"]]}}', "broken"),
        ("metrics.csv", "epoch,loss\n0,x\n", "metrics.csv: broken"),
    ],
)
def test_a_broken_file_of_a_search_is_named(tmp_path, capsys, name, content, said):
    run, _ = _searched(tmp_path, bnas.space(3, 2))
    (run.path / name).write_text(content)
    assert main.main(["draw", f"--genotype={run.path}"]) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and said in errors[0] and not list(run.path.glob("search.*"))


def test_a_search_that_has_just_begun_has_nothing_to_draw(tmp_path, capsys):
    runs.Run(tmp_path).start("search", {"method": "bnas"})
    assert main.main(["draw", f"--genotype={tmp_path}"]) == 3
    assert "the search has not finished an epoch yet" in capsys.readouterr().err
