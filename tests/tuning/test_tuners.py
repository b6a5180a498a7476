import json
import pathlib
import re

import keras_tuner
import pytest

import larq_nas
from larq_nas import configs, costs, flags, options, tuning
from larq_nas.methods import bats, bnas, dms
from larq_nas.space.architecture import Architecture
from larq_nas.tasks import processes
from larq_nas.tuning import ranges, task

SPACE = bnas.space(3, 4)
RECIPE = configs.RecipeConfig(dataset="digits", train_examples=64, epochs=9, drop_path=0.0, validation_fraction=0.25)
ORACLES = {
    "random": lambda: keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=6, seed=1),
    "bayesian": lambda: keras_tuner.oracles.BayesianOptimizationOracle(
        "val_accuracy", max_trials=4, num_initial_points=3, seed=1
    ),
    "grid": lambda: keras_tuner.oracles.GridSearchOracle("val_accuracy", max_trials=4),
}


@pytest.fixture
def trainings(monkeypatch):
    """Replaces trainings. The more binary multiply-accumulates a genotype has, the more accurate it is."""
    done = []

    def call(command, run, **given):
        assert command == "train"
        done.append((run.path, given))
        genotype = Architecture.load(given["genotype"])
        accuracy = costs.count(genotype, (32, 32, 1), 10).binary_macs / 1e9
        run.path.mkdir(parents=True, exist_ok=True)
        run.weights.touch()
        run.metrics.write_text(json.dumps({"val_accuracy": accuracy, "val_loss": 1 - accuracy}))

    monkeypatch.setattr(processes, "call", call)
    return done


def _tuner(path, oracle, space=SPACE, recipe=RECIPE, **options):
    return tuning.ArchitectureTuner(oracle, space, recipe, directory=str(path), **options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ORACLES)
def test_every_oracle_tunes_genotypes(name, trainings, tmp_path):
    # Bayesian optimization takes long in a space of many choices.
    space = dms.DmsConfig().tuned_space() if name == "bayesian" else SPACE
    tuner = _tuner(tmp_path, ORACLES[name](), space, RECIPE.replace(image_size=32), seed=7)
    tuner.search(verbose=0)
    trials = list(tuner.oracle.trials.values())
    assert len(trials) == {"random": 6, "bayesian": 4, "grid": 4}[name]
    assert all(trial.status == "COMPLETED" for trial in trials)
    best = tuner.get_best_hyperparameters()[0]
    scores = {trial.trial_id: trial.score for trial in trials}
    assert max(scores.values()) == tuner.oracle.get_best_trials(1)[0].score > 0
    genotypes = [Architecture.load(given["genotype"]) for _, given in trainings]
    assert tuner.genotype(best) in genotypes and len(set(genotypes)) == len(genotypes)
    path, given = trainings[0]
    config = flags.parse("train", [f"--{name}={value}" for name, value in given.items()]).config
    assert (config.seed, config.epochs, config.validation_fraction, config.dataset) == (7, 9, 0.25, "digits")
    assert path.parent == pathlib.Path(given["genotype"]).parent


def test_a_promoted_trial_of_hyperband_continues_with_its_weights(trainings, tmp_path):
    oracle = keras_tuner.oracles.HyperbandOracle("val_accuracy", max_epochs=9, factor=3, seed=1)
    tuner = _tuner(tmp_path, oracle)
    tuner.search(verbose=0)
    promoted = 0
    for trial, (path, given) in zip(tuner.oracle.trials.values(), trainings, strict=True):
        values, epochs = trial.hyperparameters.values, _flags_of(given)["epochs"]
        assert int(epochs) == values["tuner/epochs"] - values["tuner/initial_epoch"]
        before = values.get("tuner/trial_id")
        assert given.get("initial_weights") == (before and path.parents[1] / f"trial_{before}/run/weights.h5")
        promoted += before is not None
    assert promoted > 3


def _flags_of(given):
    words = pathlib.Path(given["flagfile"]).read_text().split()
    return dict(word.removeprefix("--").split("=", 1) for word in words)


def test_networks_above_a_limit_are_not_trained(trainings, tmp_path):
    sizes = sorted(costs.count(SPACE.sample(seed), (8, 8, 1), 10).binary_macs for seed in range(40))
    limits = tuning.Limits(binary_macs=sizes[10])
    tuner = _tuner(tmp_path / "random", ORACLES["random"](), limits=limits)
    tuner.search(verbose=0)
    assert len(trainings) == 6
    for _, given in trainings:
        assert costs.count(Architecture.load(given["genotype"]), (8, 8, 1), 10).binary_macs <= sizes[10]
    # A grid cannot be drawn again: what exceeds the limit is not trained, and has the worst figures.
    trainings.clear()
    tuner = _tuner(tmp_path / "grid", ORACLES["grid"](), limits=tuning.Limits(bytes=1))
    tuner.search(verbose=0)
    assert not trainings and [trial.score for trial in tuner.oracle.trials.values()] == [0.0] * 4
    # The network counts in the size that is trained.
    width = ranges.hyperparameters(RECIPE, ["filters:4|64"])
    small = costs.count(SPACE.sample(0), (8, 8, 1), 10).bytes
    options = {"limits": tuning.Limits(bytes=small), "directory": str(tmp_path / "width")}
    tuner = tuning.RecipeTuner(ORACLES["random"](), SPACE.sample(0), width, RECIPE, **options)
    assert not tuner.exceeded(SPACE.sample(0), RECIPE.replace(filters=4))
    assert "bytes" in tuner.exceeded(SPACE.sample(0), RECIPE.replace(filters=64))
    made_by_hand = tuning.RecipeTuner(
        ORACLES["random"](),
        "vgg11",
        ranges.hyperparameters(RECIPE, ["learning_rate:0.1|1"]),
        RECIPE.replace(image_size=32),
        limits=tuning.Limits(bytes=1),
        directory=str(tmp_path / "hand"),
    )
    assert "bytes" in made_by_hand.exceeded("vgg11", RECIPE)
    with pytest.raises(ValueError, match="ms: needs a table"):
        tuning.Limits(ms=1.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("at", [1, 3])
@pytest.mark.parametrize("name", [*ORACLES, "hyperband"])
def test_a_killed_tuning_goes_on_with_its_trial(name, at, trainings, tmp_path, monkeypatch):
    call, killed = processes.call, []

    def dying(command, run, **given):
        if len(trainings) == at and not killed:
            killed.append(run.path)
            raise processes.KilledError("its process was ended by signal 9") if at == 3 else KeyboardInterrupt
        call(command, run, **given)

    def tuner(path):
        hyperband = keras_tuner.oracles.HyperbandOracle("val_accuracy", max_epochs=4, factor=2, seed=1)
        oracle = hyperband if name == "hyperband" else ORACLES[name]()
        space = dms.DmsConfig().tuned_space() if name == "bayesian" else SPACE
        return _tuner(tmp_path / path, oracle, space, RECIPE.replace(image_size=32))

    tuner("whole").search(verbose=0)
    expected = len(trainings)
    trainings.clear()
    monkeypatch.setattr(processes, "call", dying)
    with pytest.raises((KeyboardInterrupt, tuning.TuningError), match="the same command goes on" if at == 3 else None):
        tuner("killed").search(verbose=0)
    again = tuner("killed")
    again.search(verbose=0)
    paths = [path for path, _ in trainings]
    assert len(paths) == len(set(paths)) == len(again.oracle.trials) == expected and paths[at] == killed[0]
    assert {trial.status for trial in again.oracle.trials.values()} == {"COMPLETED"}
    # A finished tuning trains nothing more.
    tuner("killed").search(verbose=0)
    assert len(trainings) == expected


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", ORACLES)
def test_a_tuning_that_is_killed_while_it_saves_a_new_trial_does_not_lose_it(name, trainings, tmp_path):
    _tuner(tmp_path / "whole", ORACLES[name]()).search(verbose=0)
    expected = [Architecture.load(given["genotype"]) for _, given in trainings]
    trainings.clear()
    oracle = ORACLES[name]()
    save = oracle.save

    def dying():
        if len(oracle.trials) == 3 and len(oracle.end_order) == 2:
            raise KeyboardInterrupt
        save()

    oracle.save = dying
    with pytest.raises(KeyboardInterrupt):
        _tuner(tmp_path / "killed", oracle).search(verbose=0)
    assert len(list(tmp_path.glob("killed/**/trial.json"))) == 3 and len(trainings) == 2
    again = _tuner(tmp_path / "killed", ORACLES[name]())
    again.search(verbose=0)
    assert {trial.status for trial in again.oracle.trials.values()} == {"COMPLETED"}
    assert [Architecture.load(given["genotype"]) for _, given in trainings] == expected


def test_a_broken_tuning_is_one_clear_error(trainings, tmp_path):
    _tuner(tmp_path, ORACLES["random"]()).search(verbose=0)
    (file,) = tmp_path.rglob("oracle.json")
    file.write_text(file.read_text()[:100])
    with pytest.raises(tuning.TuningError, match="untitled_project: holds a broken tuning .* choose another directory"):
        _tuner(tmp_path, ORACLES["random"]())


def test_a_directory_of_another_space_and_a_recipe_without_validation_are_refused(trainings, tmp_path):
    _tuner(tmp_path, ORACLES["random"]()).search(verbose=0)
    with pytest.raises(tuning.TuningError, match="holds a tuning of other hyperparameters; choose another directory"):
        tuning.ArchitectureTuner(ORACLES["random"](), bats.space(3, 8, 4), RECIPE, directory=str(tmp_path))
    with pytest.raises(tuning.TuningError, match="validation_fraction=0"):
        tuning.ArchitectureTuner(ORACLES["random"](), SPACE, RECIPE.replace(validation_fraction=0.0))


def test_images_that_are_too_small_are_named_before_the_first_trial(trainings, tmp_path):
    with pytest.raises(ValueError, match="image_size resizes images"):
        _tuner(tmp_path, ORACLES["random"](), dms.DmsConfig().tuned_space())
    for wrong in ({"dataset": "digits", "image_size": 8}, {"drop_path": 0.5}, {"max_bytes": "-1"}, {"backbone": "vgg"}):
        with pytest.raises(ValueError):
            larq_nas.tune(method="dms", **{"dataset": "digits", **wrong}, run_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="speed is no option that can be tuned"):
        larq_nas.tune(what="recipe", genotype="vgg11", tuned=["speed:1..2"], run_dir=str(tmp_path / "run"))
    assert not trainings and not list(tmp_path.iterdir())


def test_options_of_a_training_are_tuned(trainings, tmp_path):
    texts = ["learning_rate:0.001..0.1", "optimizer:sgd|adam", "epochs:2..4", "full_precision:true|false"]
    found = {each.name: each for each in ranges.hyperparameters(RECIPE, texts).space}
    assert (found["learning_rate"].min_value, found["learning_rate"].sampling) == (0.001, "log")
    assert (found["epochs"].min_value, found["epochs"].max_value) == (2, 4)
    assert found["full_precision"].values == [True, False]
    hyperparameters = ranges.hyperparameters(RECIPE, texts[:3])
    tuner = tuning.RecipeTuner(ORACLES["random"](), SPACE.sample(0), hyperparameters, RECIPE, directory=str(tmp_path))
    tuner.search(verbose=0)
    for trial, (_, given) in zip(tuner.oracle.trials.values(), trainings, strict=True):
        used = _flags_of(given)
        for name, value in trial.hyperparameters.values.items():
            assert used[name] == str(value)


def test_a_bayesian_tuning_has_more_than_random_trials():
    config = flags.configure("tune", method="bars", oracle="bayesian", max_trials=30, dataset="digits")
    assert task._oracle(config, None, None).num_initial_points == 10


def test_epochs_that_are_tuned_replace_the_number_of_steps(tmp_path):
    recipe = RECIPE.replace(steps=800)
    hyperparameters = ranges.hyperparameters(recipe, ["epochs:2..4"])
    options = {"directory": str(tmp_path)}
    tuner = tuning.RecipeTuner(ORACLES["random"](), SPACE.sample(0), hyperparameters, recipe, **options)
    trial = tuner.oracle.create_trial("tuner")
    trial.hyperparameters.values["epochs"] = 3
    _, trained = tuner.training(trial)
    assert (trained.epochs, trained.steps) == (3, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("speed:1..2", "tuned=speed:1..2: speed is no option that can be tuned; accepted are"),
        ("dataset:digits|cifar10", "dataset is no option that can be tuned"),
        ("learning_rate:0.1..0.01", "a range needs a number and a higher one"),
        ("schedule:cosine..steps", "a range needs a number and a higher one"),
        ("epochs:2.5..4", "'2.5' is no int"),
        ("full_precision:yes", "'yes' is no bool"),
        ("milestones:1|2", "an option that is a list cannot be tuned"),
        ("optimizer:sgd|lamb", "optimizer='lamb'"),
        ("batch_size:0..8", "batch_size=0"),
    ],
)
def test_ranges_that_no_option_accepts_are_clear_errors(text, said):
    with pytest.raises(options.OptionError, match=said.replace(".", r"\.")):
        ranges.hyperparameters(RECIPE, [text])


def test_a_tuning_writes_its_table_and_a_recipe_that_works(trainings, tmp_path):
    given = {"method": "bnas", "layers": 3, "filters": 4, "dataset": "digits", "max_trials": 4, "epochs": 2}
    result = larq_nas.tune(**given, run_dir=str(tmp_path / "run"))
    assert json.loads((tmp_path / "run/tuning.json").read_text()) == result
    scores = [trial["val_accuracy"] for trial in result["trials"]]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    genotype = Architecture.load(tmp_path / "run/genotype.json")
    assert genotype.provenance["result"]["val_accuracy"] == scores[0]
    words = [f"--flagfile={tmp_path}/run/best.flags", f"--genotype={tmp_path}/run/genotype.json"]
    config = flags.parse("train", words).config
    assert (config.epochs, config.validation_fraction, config.filters) == (2, 0.0, None)
    # The same call trains nothing, one of more trials continues, and another one is refused.
    assert len(larq_nas.tune(**{**given, "max_trials": 5}, run_dir=str(tmp_path / "run"))["trials"]) == 5
    trainings.pop()
    result = json.loads((tmp_path / "run/tuning.json").read_text())
    given["max_trials"] = 5
    assert larq_nas.tune(**given, run_dir=str(tmp_path / "run")) == result and len(trainings) == 4
    with pytest.raises(ValueError, match="differs in oracle"):
        larq_nas.tune(**given, oracle="bayesian", run_dir=str(tmp_path / "run"))
    with pytest.raises(tuning.TuningError, match="no network was found that keeps them"):
        larq_nas.tune(**given, max_bytes="10", run_dir=str(tmp_path / "small"))


def test_a_trial_is_a_training_whose_network_is_loaded(tmp_path):
    oracle = keras_tuner.oracles.RandomSearchOracle("val_accuracy", max_trials=1, seed=1)
    tuner = tuning.ArchitectureTuner(oracle, SPACE, RECIPE.replace(epochs=1), directory=str(tmp_path))
    tuner.search(verbose=0)
    (trial,) = tuner.oracle.trials.values()
    metrics = json.loads(tuner.run(trial.trial_id).metrics.read_text())
    assert trial.status == "COMPLETED" and trial.score == pytest.approx(metrics["val_accuracy"])
    (model,) = tuner.get_best_models()
    genotype = tuner.genotype(trial.hyperparameters)
    assert costs.count(model).params == costs.count(genotype, (8, 8, 1), 10).params
    assert list((tuner.run(trial.trial_id).path.parent / "logs").iterdir())


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_examples_of_the_page_run(trainings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = pathlib.Path(__file__).parents[2] / "docs/tuning.md"
    names = {}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)
    assert len(trainings) == 2 and names["genotype"].decided
    assert names["hyperparameters"].values["normal/node2/inputs"] == "2+3"
    assert names["model"].predict(names["images"][:2].reshape(-1, 64), verbose=0).shape == (2, 10)


@pytest.mark.parametrize("method", ["bars", "bats", "dms"])
def test_the_spaces_of_all_methods_are_tuned(method, trainings, tmp_path):
    result = larq_nas.tune(method=method, dataset="digits", max_trials=2, run_dir=str(tmp_path))
    assert len(result["trials"]) == len(trainings) == 2
    template = {"bars": "bars", "bats": "bats", "dms": "vgg11"}[method]
    assert Architecture.load(tmp_path / "genotype.json").template == template


def test_a_failed_training_is_one_clear_line(monkeypatch, tmp_path):
    def call(command, run, **given):
        raise ValueError("the loss became inf")

    monkeypatch.setattr(processes, "call", call)
    with pytest.raises(tuning.TuningError, match="too many trials in a row have failed; the last one: .*became inf"):
        larq_nas.tune(method="bars", dataset="digits", run_dir=str(tmp_path))
