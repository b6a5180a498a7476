import dataclasses

import pytest
from absl import flags as absl_flags

from larq_nas import configs, flags, methods, options
from larq_nas.methods.bars.config import is_budget
from larq_nas.space.registry import METHODS

COMMANDS = ("search", "train", "convert", "evaluate", "zoo")
RECIPES = [(command, name) for command in COMMANDS for name in flags.recipes(command)]


def parse(command, *words):
    needed = ["--genotype=bnas_a"] if command in ("train", "costs") else []
    return flags.parse(command, [*needed, *words]).config


def lines(command, name):
    text = flags.recipe_path(command, name).read_text(encoding="utf-8").splitlines()
    return [line for line in text if line and not line.startswith("#")]


def test_the_help_of_a_search_lists_the_recipes_of_its_method():
    text = flags.usage("search", ["--method=random", "--space=dms"], "")
    assert "dms_cifar10, dms_cifar10_cpu, " in text and "bnas_" not in text and "bars_" not in text


def test_recipes_are_found_by_command():
    assert {"bnas_cifar10", "bnas_quickstart"} <= set(flags.recipes("search"))
    assert {"bnas_cifar10", "bnas_imagenet", "bnas_quickstart"} <= set(flags.recipes("train"))
    assert flags.recipes("zoo") == []


@pytest.mark.parametrize(("command", "name"), RECIPES)
def test_recipe_sets_what_it_says_with_the_flags_of_its_command(command, name):
    config = parse(command, f"--flagfile={flags.recipe_path(command, name)}")
    said = dict(line.removeprefix("--").split("=") for line in lines(command, name))
    assert said.pop("method", "bnas" if command == "search" else "") == getattr(config, "method", "")
    values = {key: getattr(config, key) for key in said}
    read = {
        key: tuple(type(values[key][0])(part) for part in text.split(","))
        if isinstance(values[key], tuple)
        else {"true": True, "false": False}[text]
        if isinstance(values[key], bool)
        else type(values[key])(text)
        for key, text in said.items()
    }
    assert said and read == values


@pytest.mark.parametrize(("command", "name"), RECIPES)
def test_recipe_says_how_to_launch_it_and_a_published_one_its_paper(command, name):
    text = flags.recipe_path(command, name).read_text(encoding="utf-8")
    assert f"#   larq_nas {command} --flagfile={name}" in text
    assert "https://arxiv.org/abs/" in text or name not in ("bnas_cifar10", "bnas_imagenet")


@pytest.mark.parametrize(
    ("command", "method", "differing"),
    [("search", name, {"budget"} if name == "bars" else set()) for name in METHODS] + [("train", "bnas", set())],
)
def test_defaults_are_the_published_values_for_cifar10(command, method, differing):
    # Found by trying what is a budget: the defaults have none.
    words = [f"--method={method}"] * (command == "search")
    published = parse(command, f"--flagfile={method}_cifar10", *words)
    default = configs.TrainConfig(genotype="bnas_a") if command == "train" else methods.get(method)()
    for field in dataclasses.fields(default):
        same = getattr(published, field.name) == getattr(default, field.name)
        # The authors of BARS publish networks of several budgets.
        assert same or field.name in ("dataset", "budget"), field.name


def test_methods_are_those_that_the_library_knows():
    values, _ = flags.define("search")
    assert tuple(values["method"].parser.enum_values) == methods.names()


def test_data_set_is_the_embedded_one_by_default():
    for command in ("search", "train"):
        config = parse(command)
        assert (config.dataset, config.data_dir, config.overwrite) == ("digits", None, False)


def test_commands_that_follow_each_other_share_their_default_directory():
    directories = {command: parse(command).run_dir for command in ("search", "train", "convert", "evaluate")}
    assert directories["train"] == directories["convert"] == directories["evaluate"] != directories["search"]


def test_flags_are_those_of_the_command_and_its_method():
    before = set(absl_flags.FLAGS)
    values, config = flags.define("zoo")
    assert set(options.options(config)) == {"pattern", "costs", "json"} and set(absl_flags.FLAGS) == before
    assert "verbosity" in values and "batch_size" not in values
    bars, _ = flags.define("search", ["--method=bars"])
    assert "budget" in bars and "layers" not in bars and bars["batch_size"].default == 256
    assert "budget" in flags.define("search", ["--filters", "8", "--method", "bars"])[0]
    assert flags.define("search", ["--flagfile=bars_cifar10"])[1].method == "bars"
    assert flags.define("search", ["--method=bars", "--flagfile", "cifar10"])[1].method == "bars"
    profiled, _ = flags.define("benchmark", ["--profile_operations", "--method=dms"])
    assert "backbone" in profiled and "models" not in profiled and "epochs" not in profiled


def test_two_command_lines_do_not_know_each_other():
    first, second = parse("train", "--epochs=3"), parse("train", "--genotype=bnas_b", "--dataset=cifar10")
    assert (first.epochs, second.epochs, second.genotype) == (3, 600, "bnas_b")


@pytest.mark.parametrize("command", ["search", "train", "evaluate", "convert", "benchmark", "costs"])
def test_home_directory_stands_for_the_tilde_in_every_path(command, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    paths = [name for name, option in options.options(flags.define(command)[1]).items() if option.is_path]
    assert paths
    latency = ["--max_latency_ms=1"] if command == "search" else []
    config = parse(command, *(f"--{name}=~/a b" for name in paths), *latency)
    for name in paths:
        value = getattr(config, name)
        assert value == (("/home/ada/a b",) if isinstance(value, tuple) else "/home/ada/a b"), name


@pytest.mark.parametrize("text", ["40%", "100%", "2096M", "1000"])
def test_a_budget_is_a_number_or_a_share(text):
    assert is_budget(text)


@pytest.mark.parametrize("text", ["0%", "101%", "-4%", "%", "4.5%%", "many", "0"])
def test_other_budgets_are_refused(text):
    assert not is_budget(text)


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("search", ["--latency_table=x.json"], "^latency_table, max_latency_ms: each needs the other"),
        ("search", ["--method=bars", "--budget_params=2M", "--budget="], "budget"),
        ("search", ["--method=dms", "--epochs=7", "--rounds=3"], "^epochs=7: must be a multiple of rounds=3"),
        ("search", ["--warmup_epochs=9", "--epochs=9"], "^warmup_epochs=9: must be at least 0 and less than epochs=9"),
        ("search", ["--method=bars", "--latency_table=x.json", "--max_latency_ms=1", "--samples=0"], "^samples=0: "),
        ("search", ["--method=dms", "--scale=0.1"], "^final_scale=0.3: must be positive and at most scale=0.1"),
        ("search", ["--genotype_filters=36"], "are only for max_latency_ms; give it, too"),
    ],
)
def test_flags_that_do_not_fit_together_are_refused(command, words, said):
    with pytest.raises((flags.Error, options.OptionError), match=said):
        flags.parse(command, words)


def test_a_configuration_from_python_is_that_of_the_command_line():
    line = flags.parse("search", ["--method=bats", "--nobinarize", "--epochs=3", "--dataset=folder:x"])
    assert line.recipe == "bats_real_images"
    assert flags.configure("search", method="bats", binarize=False, epochs=3, dataset="folder:x") == line.config
    genotype = methods.get("bars")().space().sample(0)
    config = flags.configure("train", genotype=genotype, milestones=[3, 5], data_dir=None)
    assert config.genotype is genotype and config.milestones == (3, 5)
    assert config.replace(genotype="bars_a") == parse("train", "--genotype=bars_a", "--milestones=3,5")


def test_none_from_python_takes_a_value_of_the_recipe_away():
    assert flags.configure("search", method="bars").budget == "13%"
    assert flags.configure("search", method="bars", budget=None).budget is None
    with pytest.raises(options.OptionError, match="epochs: a value is missing"):
        flags.configure("search", epochs=None)
    with pytest.raises(options.OptionError, match="budget: is no option of search"):
        flags.configure("search", budget=None)
    with pytest.raises(options.OptionError, match="command 'sarch': accepted are search, "):
        flags.configure("sarch")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--epochs=3"], "Unknown command line flag 'epochs'"),
        (["--filters=3"], "--filters: is only for --profile_operations"),
        (["--profile_operations", "--method=dms", "--filters=3"], "no flag of --method=dms, but of bnas, bars, bats"),
        (["--profile_operations", "--method=dms", "--width=4"], "Unknown command line flag 'width'"),
    ],
)
def test_an_unknown_flag_of_benchmark_is_explained(words, said):
    with pytest.raises(flags.Error, match=said):
        flags.parse("benchmark", words)


def test_a_generic_recipe_is_found_for_every_method():
    assert parse("train", "--genotype=bars_a", "--flagfile=cifar10_cpu").batch_size == 64


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epoch": 3}, "Unknown command line option 'epoch'. Did you mean: epochs"),
        ({"epochs": 0}, "epochs"),
        ({"method": "bars", "layers": 5}, "layers is no option of method=bars, but of bnas, bats"),
        ({"method": "darts"}, "darts"),
        ({"flagfile": "my--file"}, "my--file"),
    ],
)
def test_a_wrong_value_from_python_is_refused(values, said):
    with pytest.raises(options.OptionError, match=said):
        flags.configure("search", **values)
