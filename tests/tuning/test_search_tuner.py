"""Tunings of the options of a search."""

import json

import keras_tuner
import pytest

import larq_nas
from larq_nas import configs, datasets, flags, options, runs, tuning
from larq_nas.datasets import validation
from larq_nas.methods import bars, bnas
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import processes
from larq_nas.tuning import ranges

SEARCH = bnas.BnasConfig(layers=3, filters=4, epochs=2)
RECIPE = configs.RecipeConfig(dataset="digits", train_examples=64, epochs=9, drop_path=0.0, validation_fraction=0.25)
GIVEN = {"what": "search", "layers": 3, "filters": 4, "dataset": "digits", "train_examples": 64, "max_trials": 3}


@pytest.fixture
def calls(monkeypatch):
    """Replaces searches and trainings. The larger the diversity of a search, the more accurate is what it finds."""
    done, accuracies = [], {}

    def call(command, run, **given):
        done.append((command, run.path, given))
        run.path.mkdir(parents=True, exist_ok=True)
        if command == "search":
            genotype = SEARCH.space().sample(len(done))
            accuracies[genotype] = _config(command, given).diversity / 10
            runs.write(run.genotype, genotype.to_json())
            return
        accuracy = accuracies[Architecture.load(given["genotype"])]
        run.metrics.write_text(json.dumps({"val_accuracy": accuracy, "val_loss": 1 - accuracy}))
        run.weights.touch()

    monkeypatch.setattr(processes, "call", call)
    return done


def _config(command, given):
    return flags.parse(command, [f"--{name}={value}" for name, value in given.items()]).config


def test_each_trial_is_a_search_without_the_validation_images_and_a_training(calls, tmp_path):
    result = larq_nas.tune(**GIVEN, tuned=["diversity:1..3"], seed=7, run_dir=str(tmp_path / "run"))
    assert [command for command, _, _ in calls] == ["search", "train"] * 3
    for (_, searched, given), (_, _, trained) in zip(calls[::2], calls[1::2], strict=True):
        search, train = _config("search", given), _config("train", trained)
        assert isinstance(search, bnas.BnasConfig) and (search.layers, search.filters, search.seed) == (3, 4, 7)
        assert search.validation_fraction == train.validation_fraction == 0.2
        assert search.train_examples == train.train_examples == 64
        # The recipe of a training on digits.
        assert (search.epochs, train.epochs) == (12, 40)
        genotype = Architecture.load(searched / "genotype.json")
        assert Architecture.load(trained["genotype"]) == genotype and genotype.decided
    best = result["trials"][0]
    assert best["values"]["diversity"] == max(trial["values"]["diversity"] for trial in result["trials"])
    assert best["val_accuracy"] == pytest.approx(best["values"]["diversity"] / 10)
    config = flags.parse("search", [f"--flagfile={tmp_path}/run/best.flags"]).config
    assert (config.method, config.diversity, config.layers) == ("bnas", best["values"]["diversity"], 3)
    assert config.validation_fraction == 0.0
    found = Architecture.load(tmp_path / "run/genotype.json")
    assert found.cells == Architecture.load(tmp_path / f"run/trials/trial_{best['trial']}/search/genotype.json").cells


def test_a_tuning_continues_with_the_recipe_that_it_began_with_only(calls, tmp_path):
    recipe, given = tmp_path / "short.flags", {**GIVEN, "tuned": ["diversity:1..3"], "run_dir": str(tmp_path / "run")}
    # The data set and the validation images of the tuning have precedence.
    recipe.write_text("--epochs=3\n--dataset=cifar10\n--image_size=32\n--validation_fraction=0\n")
    result = larq_nas.tune(**given, train_flagfile=str(recipe))
    for command, _, given_to in calls:
        config = _config(command, given_to)
        assert (config.dataset, config.image_size, config.validation_fraction) == ("digits", None, 0.2)
    assert _config("train", calls[1][2]).epochs == 3
    kept = tmp_path / "run/train.flags"
    # As an earlier version, without this flag, has written the file.
    kept.write_text(kept.read_text().replace("--distribute=none\n", ""))
    assert larq_nas.tune(**given, train_flagfile=str(recipe)) == result and len(calls) == 6
    recipe.write_text("--epochs=4\n")
    with pytest.raises(tuning.TuningError, match="were trained by another recipe, see .*train.flags; choose another"):
        larq_nas.tune(**given, train_flagfile=str(recipe))


def test_a_promoted_trial_of_hyperband_keeps_its_genotype(calls, tmp_path):
    oracle = keras_tuner.oracles.HyperbandOracle("val_accuracy", max_epochs=9, factor=3, seed=1)
    hyperparameters = ranges.hyperparameters(SEARCH, ["diversity:1..3"])
    tuner = tuning.SearchTuner(oracle, SEARCH, hyperparameters, RECIPE, directory=str(tmp_path))
    tuner.search(verbose=0)
    trials = {f"trial_{trial.trial_id}": trial.hyperparameters.values for trial in tuner.oracle.trials.values()}
    searches = [path.parent.name for command, path, _ in calls if command == "search"]
    assert sorted(searches) == sorted(name for name, values in trials.items() if not values.get("tuner/trial_id"))
    promoted = {name: values for name, values in trials.items() if values.get("tuner/trial_id")}
    trained = {path.parent.name: given for command, path, given in calls if command == "train"}
    for name, values in promoted.items():
        before = trained[f"trial_{values['tuner/trial_id']}"]
        assert Architecture.load(trained[name]["genotype"]) == Architecture.load(before["genotype"])
    assert len(promoted) > 3


@pytest.mark.parametrize("at", [1, 2])
def test_a_killed_trial_goes_on_with_its_search_or_its_training(at, calls, tmp_path, monkeypatch):
    call, given = processes.call, {**GIVEN, "tuned": ["diversity:1..3"], "run_dir": str(tmp_path / "run")}

    def dying(command, run, **given):
        if len(calls) == at:
            raise processes.KilledError("its process was ended by signal 9")
        call(command, run, **given)

    monkeypatch.setattr(processes, "call", dying)
    with pytest.raises(tuning.TuningError, match="signal 9; the same command goes on with this trial"):
        larq_nas.tune(**given)
    monkeypatch.setattr(processes, "call", call)
    result = larq_nas.tune(**given)
    assert len(result["trials"]) == 3 and len({path for _, path, _ in calls}) == len(calls) == 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tuned": ["speed:1..2"]}, "tuned=speed:1..2: speed is no option that can be tuned; accepted are .*diversity"),
        ({"tuned": ["seed:1|2"]}, "seed is no option that can be tuned"),
        ({"tuned": ["diversity:-1..2"]}, "diversity=-1.0: must be at least 0"),
        ({"train_flagfile": "fast"}, "train_flagfile=fast: .* no recipe of train .recipes: .*bnas_quickstart"),
        ({"validation_fraction": 0.0}, "validation_fraction=0: trials are judged on validation images"),
        (
            {"method": "dms", "layers": None, "filters": None, "image_size": 8},
            "is too small: the network halves images 5 times",
        ),
        (
            {"method": "dms", "layers": None, "filters": None, "backbone": bars.space(4, 1).sample(0)},
            "backbone: each search is a process of its own; give the path of a genotype.json file",
        ),
        ({"method": "bars", "layers": None, "budget": "1K"}, "budget=1,000: the smallest network of this space has"),
    ],
)
def test_what_cannot_be_searched_is_named_before_the_first_trial(wrong, said, calls, tmp_path):
    given = {name: value for name, value in {**GIVEN, **wrong}.items() if value is not None}
    with pytest.raises(ValueError, match=said):
        larq_nas.tune(**given, run_dir=str(tmp_path / "run"))
    assert not calls and not list(tmp_path.iterdir())


def test_only_options_of_the_search_are_tuned(tmp_path):
    hyperparameters = ranges.hyperparameters(RECIPE, ["schedule:cosine|steps"])
    oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=1)
    with pytest.raises(options.OptionError, match="schedule: is no option of this search"):
        tuning.SearchTuner(oracle, SEARCH, hyperparameters, RECIPE, directory=str(tmp_path))


@pytest.mark.parametrize("method", ["bnas", "bars", "bats", "dms"])
def test_the_options_that_are_tuned_by_default_are_those_of_the_method(method, tmp_path):
    config = flags.configure("tune", what="search", method=method, dataset="digits")
    search = config.search_config()
    recipe = flags.training_of(config, search.space())
    assert flags.training_of(config.replace(distribute="mirrored"), search.space()).distribute == "mirrored"
    hyperparameters = ranges.hyperparameters(search, config.tuned)
    oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=1, seed=1)
    tuner = tuning.SearchTuner(oracle, search, hyperparameters, recipe, seed=5, directory=str(tmp_path))
    trial = tuner.oracle.create_trial("tuner")
    (tmp_path / "best.flags").write_text(tuner.flags(trial))
    found = flags.parse("search", [f"--flagfile={tmp_path}/best.flags"]).config
    values = trial.hyperparameters.values
    assert len(values) > 1 and found == search.replace(**values, seed=5, validation_fraction=0.0, run_dir="runs/search")


def test_values_that_do_not_fit_together_and_collapsed_searches_are_the_worst_trials(calls, tmp_path, monkeypatch):
    call = processes.call

    def collapsing(command, run, **given):
        call(command, run, **given)
        if command == "search" and _config(command, given).warmup_epochs == 1:
            nothing = json.loads(SEARCH.space().sample(0).to_json())
            for cell in nothing["cells"].values():
                for edge in (edge for node in cell["nodes"] for edge in node["edges"]):
                    edge["operations"] = ["none"]
            run.genotype.write_text(json.dumps(nothing))
            raise processes.TaskError("no image reaches the classifier")

    monkeypatch.setattr(processes, "call", collapsing)
    oracle = keras_tuner.oracles.GridSearchOracle("val_accuracy", max_trials=3)
    hyperparameters = ranges.hyperparameters(SEARCH.replace(epochs=8), ["warmup_epochs:0|1|5"])
    tuner = tuning.SearchTuner(oracle, SEARCH, hyperparameters, RECIPE, directory=str(tmp_path))
    tuner.search(verbose=0)
    trials = {trial.hyperparameters.values["warmup_epochs"]: trial for trial in tuner.oracle.trials.values()}
    assert {trial.status for trial in trials.values()} == {"COMPLETED"}
    assert trials[0].score > trials[1].score == trials[5].score == 0
    assert "no image reaches the classifier" in tuner.refused(trials[1])
    assert "warmup_epochs=5: must be at least 0 and less than epochs=2" in tuner.refused(trials[5])
    assert [command for command, _, _ in calls].count("train") == 1


def test_a_search_does_not_use_the_images_on_which_its_genotype_is_judged(tmp_path):
    recipe = tmp_path / "short.flags"
    recipe.write_text("--epochs=1\n--drop_path=0\n")
    given = {**GIVEN, "max_trials": 1, "epochs": 1, "samples": 0, "finalists": 0, "warmup_epochs": 0}
    result = larq_nas.tune(**given, train_flagfile=str(recipe), run_dir=str(tmp_path / "run"))
    (trial,) = result["trials"]
    assert trial["status"] == "completed" and 0 <= trial["val_accuracy"] <= 1
    (searched,) = tmp_path.rglob("search/genotype.json")
    left = validation.hold_out(datasets.load("digits", train_examples=64), 0.2)
    assert Architecture.load(searched).provenance["examples"] == list(left.half_sizes)
