import json

import pytest

import larq_nas
from larq_nas import __main__ as main
from larq_nas import flags, options, runs
from larq_nas.tasks import rank
from larq_nas.tasks.errors import TaskError

DATA = {"dataset": "digits", "train_examples": 120, "image_size": 8}
SEARCH = {**DATA, "method": "bnas", "layers": 3, "filters": 2, "epochs": 2, "warmup_epochs": 0, "samples": 0}
SEARCH |= {"finalists": 0, "steps": None}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """The directory of a finished search."""
    path = tmp_path_factory.mktemp("search")
    larq_nas.search(**SEARCH, run_dir=str(path / "run"))
    return path / "run"


def test_a_rank_trains_what_it_has_drawn_and_compares_the_orders(searched, capsys):
    words = ["--dataset=digits", "--train_examples=120", "--image_size=8", "--epochs=1", f"--run_dir={searched}"]
    assert main.main(["rank", *words, "--draw=3"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(searched / "rank.json")
    ranking = json.loads((searched / "rank.json").read_text())
    rows = ranking["genotypes"]
    assert [row["name"] for row in rows] == ["genotype1", "genotype2", "genotype3"]
    comparison = json.loads((searched / "rank/comparison.json").read_text())
    assert [row["accuracy"] for row in rows] == [network["mean"] for network in comparison["networks"].values()]
    expected = rank.statistics([row["validation_accuracy"] for row in rows], [row["accuracy"] for row in rows])
    assert {name: ranking[name] for name in expected} == expected
    # The same genotypes, listed by the user, have the same accuracies with shared weights, but are another ranking.
    first, *files = (str(searched / f"rank/genotypes/genotype{number}.json") for number in (1, 2, 3))
    listed = [larq_nas.Architecture.load(first), *files]
    config = flags.configure("rank", **DATA, run_dir=str(searched), epochs=1, genotypes=listed)
    judged = rank._with_shared_weights(config, flags.searched(searched), runs.Run(searched)).values()
    assert [row["validation_accuracy"] for row in rows] == [metrics["validation_accuracy"] for metrics in judged]
    with pytest.raises(runs.RunError, match="differs in genotypes"):
        larq_nas.rank(config)


def test_statistics_are_those_of_the_orders():
    shared = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    same = rank.statistics(shared, shared)
    assert all(figure["value"] == pytest.approx(1) for figure in same.values())
    assert same["kendall_tau"]["interval"] == pytest.approx([1, 1])
    trained = [0.2, 0.1, *shared[2:8], 1.0, 0.9]
    # Two of 45 pairs are in the other order.
    found = rank.statistics(shared, trained)
    assert found["kendall_tau"]["value"] == pytest.approx(1 - 4 / 45)
    low, high = found["kendall_tau"]["interval"]
    assert low < found["kendall_tau"]["value"] < high <= 1
    assert rank.precision_at_top(shared, shared[::-1]) == 0
    # The best two of ten are the same two, in another order.
    assert rank.precision_at_top(shared, trained) == 1
    # Nine of ten are equal in both orders: two of them at random, twice.
    assert rank.precision_at_top([0.5] * 9 + [0.4], [0.6] * 9 + [0.3]) == pytest.approx(2 / 9)
    assert rank.statistics([0.5, 0.5, 0.5], shared[:3])["kendall_tau"] == {"value": None, "interval": None}


def test_what_cannot_be_ranked_is_refused(searched, tmp_path):
    with pytest.raises(
        runs.RunError, match="genotype.json: missing; run_dir must be the directory of a finished larq_nas search"
    ):
        larq_nas.rank(dataset="digits", run_dir=str(tmp_path), draw=3)
    with pytest.raises(TaskError, match="dataset=cifar10: .* is a search on digits"):
        larq_nas.rank(dataset="cifar10", run_dir=str(searched), draw=3)
    with pytest.raises(TaskError, match="genotypes: vgg11 is no genotype of the space of the search"):
        larq_nas.rank(**DATA, run_dir=str(searched), genotypes=["vgg11", "bats", "bnas_a"], epochs=1)
    with pytest.raises(options.OptionError, match="draw, genotypes: give one of them"):
        larq_nas.rank(**DATA, run_dir=str(searched))
    with pytest.raises(options.OptionError, match="draw=2"):
        larq_nas.rank(**DATA, run_dir=str(searched), draw=2)
