import argparse
import dataclasses
import json

import numpy as np
import pytest
from dms_search import DISTRIBUTIONS, SETTINGS
from kill import Killed

from larq_nas import costs, datasets, runs
from larq_nas.methods import bars, dms
from larq_nas.methods.dms import searching
from larq_nas.space.architecture import Architecture
from larq_nas.supernet import inheritance


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits", image_size=32, train_examples=64)


def _strategy(base, data, distributions=DISTRIBUTIONS):
    return dms.Strategy(distributions, base, data.image_shape, len(data.class_names))


@pytest.fixture(scope="module")
def whole(digits, tmp_path_factory):
    run = runs.Run(tmp_path_factory.mktemp("whole"))
    searching.search(_strategy(dms.space("vgg11"), digits), digits, run, SETTINGS)
    return run


@pytest.mark.onednn
def test_a_search_leaves_a_genotype_of_its_mean_ratios_and_a_row_for_each_round(whole, digits):
    genotype, rows = Architecture.load(whole.genotype), whole.rows()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert [row["scale"] for row in rows] == pytest.approx([0.3, 0.06**0.5, 0.2])
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "megabytes", "ratio/conv0"} <= set(rows[0])
    ratios = [rows[-1][f"ratio/conv{index}"] for index in range(8)]
    base = dms.space("vgg11")
    assert dms.base_widths(genotype).tolist() == dms.rounded(base, ratios).tolist()
    # Memory costs, so the widths shrink.
    sizes = [dms.size(dms.derive(base, [DISTRIBUTIONS.ratio] * 8), digits.image_shape, 10)]
    sizes += [row["megabytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < sizes[0]
    result = genotype.provenance["result"]
    assert result["params"] == costs.count(genotype, digits.image_shape, 10).params
    assert result["ratios"] == pytest.approx(ratios)
    (candidate,) = json.loads(whole.candidates.read_text())
    assert candidate == {**result, "chosen": True}


@pytest.mark.parametrize("place", ["_fit", pytest.param("_save", marks=pytest.mark.slow)])
def test_a_killed_search_goes_on_to_the_same_result(whole, digits, tmp_path, monkeypatch, place):
    run, calls = runs.Run(tmp_path), []
    original = getattr(searching, place)

    def killed(*arguments):
        calls.append(arguments)
        # In the second round: its second fit, or before anything of it is written.
        if len(calls) == {"_fit": 4, "_save": 2}[place]:
            raise Killed
        return original(*arguments)

    said = []
    monkeypatch.setattr(searching.estimates, "announce", lambda *arguments, **options: said.append(arguments[4]))
    with monkeypatch.context() as patch:
        patch.setattr(searching, place, killed)
        with pytest.raises(Killed):
            searching.search(_strategy(dms.space("vgg11"), digits), digits, run, SETTINGS)
    assert not run.genotype.exists()
    searching.search(_strategy(dms.space("vgg11"), digits), digits, run, SETTINGS)
    # Each call says once how many rounds are left.
    assert said == [3, 2]
    for a, b in zip(whole.rows(), run.rows(), strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    assert run.genotype.read_text() == whole.genotype.read_text()


def test_widths_of_a_genotype_with_cells_are_searched(tmp_path):
    data = datasets.load("digits", image_size=8, train_examples=32)
    base = dms.space(bars.space(4, cells_per_stage=1).sample(1))
    genotype = searching.search(_strategy(base, data), data, runs.Run(tmp_path), SETTINGS)
    assert genotype.cells == base.cells and genotype.decided
    # Memory costs, and widths stay those of stages that double.
    assert np.all(dms.base_widths(genotype) % [1, 2, 4] == 0)
    rows = runs.Run(tmp_path).rows()
    assert rows[0]["megabytes"] > rows[-1]["megabytes"] and "ratio/stage2" in rows[0]


BROKEN = {"empty": b"", "cut": b"PK\x03\x04 broken", "text": b"garbage"}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_backup_gives_way_to_the_round_before_or_is_named(tmp_path, caplog, content):
    run, base = runs.Run(tmp_path / "lr[1]"), dms.space("vgg11")
    for number in range(1, 5):
        searching._save(run, {"round": number, "base": base.to_json(), "draws": [0, 0]})
    newest, older = searching._files(run)
    assert (newest.name, older.name) == ("round-0004.npz", "round-0003.npz")
    assert searching._load(run, base)["round"] == 4
    newest.write_bytes(content)
    assert searching._load(run, base)["round"] == 3
    assert "round-0004.npz: broken; going on after round 3" in caplog.text
    older.write_bytes(content)
    with pytest.raises(runs.RunError, match="round-0004.npz: broken.*overwrite=True"):
        searching._load(run, base)


def test_a_search_of_an_earlier_version_is_refused(tmp_path):
    run, base = runs.Run(tmp_path), dms.space("vgg11")
    searching._save(run, {"round": 1, "base": base.to_json(), "random": [0, 0, 0]})
    with pytest.raises(runs.RunError, match="an earlier version of larq_nas has begun; choose another run_dir"):
        searching._load(run, base)


def test_a_pickle_in_a_backup_is_not_loaded(tmp_path):
    run = runs.Run(tmp_path)
    run.backup.mkdir()
    np.savez(run.backup / "round-0001.npz", round=np.array([{"a": 1}], dtype=object))
    with pytest.raises(runs.RunError, match="round-0001.npz: broken"):
        searching._load(run, dms.space("vgg11"))


@pytest.mark.slow
def test_without_best_effort_every_round_starts_anew(digits, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(inheritance, "copy_weights", lambda *arguments: seen.append(arguments))
    made = []
    original = searching._model
    monkeypatch.setattr(searching, "_model", lambda *arguments: made.append(original(*arguments)) or made[-1])
    distributions = dataclasses.replace(DISTRIBUTIONS, rounds=2, best_effort=False)
    strategy = _strategy(dms.space("vgg11"), digits, distributions)
    searching.search(strategy, digits, runs.Run(tmp_path), argparse.Namespace(**{**vars(SETTINGS), "epochs": 2}))
    assert len(made) == 2 and not seen
    assert json.loads((tmp_path / "genotype.json").read_text())["template"] == "vgg11"
