import json

import pytest

import larq_nas
from larq_nas import costs, flags, methods, options
from larq_nas.methods import bars, bats, bnas
from larq_nas.networks import reachability
from larq_nas.supernet import drawing


def test_each_method_of_cells_can_be_searched_at_random():
    assert [name for name in methods.names() if name.startswith("random_")] == [
        "random_bnas",
        "random_bars",
        "random_bats",
        "random_dms",
    ]
    config = methods.get("random_bats")
    assert config.method == "random_bats" and issubclass(config, methods.get("bats")) and config().samples == 8
    with pytest.raises(methods.MethodError, match="evolution_dms: evolution searches the spaces of bnas, bars, bats,"):
        methods.get("evolution_dms")
    with pytest.raises(options.OptionError, match="random_x"):
        flags.configure("search", method="random_x")


def test_a_random_search_has_the_recipe_of_its_method():
    drawn, searched = (
        flags.configure("search", method=f"{prefix}bats", dataset="folder:x") for prefix in ("random_", "")
    )
    assert (drawn.filters, drawn.layers, drawn.learning_rate) == (8, 3, 0.006)
    assert drawn.replace(samples=searched.samples, run_dir=searched.run_dir).space() == searched.space()
    # The method of a recipe does not replace that of the command line, wherever it stands.
    for words in (["--method=random_bats", "--flagfile=images"], ["--flagfile=bats_images", "--method", "random_bats"]):
        config = flags.parse("search", [*words, "--dataset=folder:x"]).config
        assert config.method == "random_bats" and config.filters == 8
    with pytest.raises(flags.Error, match="temperature is no flag of --method=bats, but of bars"):
        flags.parse("search", ["--method=bats", "--flagfile=bats_images", "--temperature=1"])


def test_a_way_and_a_space_are_two_flags():
    for way in ("random", "evolution"):
        words = ["--method", way, "--space=bats", "--dataset=folder:x"]
        for each in (words, words[2:] + words[:2]):
            config = flags.parse("search", each).config
            assert config.method == f"{way}_bats" and config.filters == 8
        assert flags.configure("search", method=way, space="bars").method == f"{way}_bars"
        with pytest.raises(flags.Error, match=f"--method={way}: needs --space, .* one of bnas, bars, bats"):
            flags.parse("search", [f"--method={way}"])
    with pytest.raises(flags.Error, match="--space=bars: is only for --method=random and --method=evolution"):
        flags.parse("search", ["--method=dms", "--space=bars"])
    with pytest.raises(flags.Error, match="needs --space"):
        flags.parse("search", ["--method=evolution", "--space=dms"])
    assert "--space <bnas|bars|bats|dms>: the space that --method=random or evolution" in flags.usage("search", [], "")


@pytest.mark.parametrize("method", [bnas, bars, bats])
def test_genotypes_are_drawn_evenly_and_within_the_budget(method):
    space = {bnas: bnas.space(3, 4), bars: bars.space(8, 1), bats: bats.space(3, 8, 4)}[method]
    strategy = method.Strategy()
    if method is bars:
        counted = space, (16, 16, 3), 4
        middle = bars.share_of_range(space, 0.5, (16, 16, 3), 4)
        strategy = bars.Strategy(budget=middle, counted=counted, accepted={"biops": middle}, tolerance=0.05)
    drawn = [candidate.genotype for candidate in drawing.candidates(strategy, space, 12, seed=1)]
    assert len(drawn) == 12 and len(set(drawn)) > 10
    assert all(reachability.reaches_classifier(genotype) for genotype in drawn)
    assert drawn == [candidate.genotype for candidate in drawing.candidates(strategy, space, 12, seed=1)]
    used = {edge.operations[0] for genotype in drawn for cell in genotype.cells for edge in cell.edges}
    assert used == set(method.OPERATIONS) - ({"none"} if method is bats else set())
    if method is bars:
        biops = [costs.count(genotype, (16, 16, 3), 4).biops for genotype in drawn]
        assert all(abs(count / middle - 1) < 0.05 for count in biops)


def test_a_random_search_writes_what_a_search_does_and_resumes(tmp_path):
    options = {"method": "random_bnas", "dataset": "digits", "run_dir": str(tmp_path / "run"), "train_examples": 120}
    options |= {"samples": 2, "finalist_epochs": 1, "layers": 3, "filters": 4, "image_size": 8, "steps": None}
    options |= {"epochs": 2, "warmup_epochs": 0}
    genotype = larq_nas.search(**options)
    assert json.loads((tmp_path / "run/genotype.json").read_text())["provenance"]["flags"]["samples"] == "2"
    rounds = json.loads((tmp_path / "run/finalists.json").read_text())
    assert [len(row["accuracy"]) for row in rounds] == [2]
    candidates = json.loads((tmp_path / "run/candidates.json").read_text())
    assert [row["chosen"] for row in candidates].count(True) == 1
    assert larq_nas.search(**options) == genotype


def test_widths_are_drawn_trained_and_chosen_by_a_random_search(tmp_path):
    options = {"method": "random", "space": "dms", "dataset": "digits", "train_examples": 120, "image_size": 32}
    options |= {"samples": 2, "finalist_epochs": 1, "genotype_megabytes": 0.02, "run_dir": str(tmp_path / "run")}
    genotype = larq_nas.search(**options)
    rows = json.loads((tmp_path / "run/candidates.json").read_text())
    (chosen,) = (row for row in rows if row["chosen"])
    assert len(rows) == 2 and all(row["megabytes"] == pytest.approx(0.02, rel=0.05) for row in rows)
    assert chosen["params"] == costs.count(genotype, (32, 32, 1), 10).params
