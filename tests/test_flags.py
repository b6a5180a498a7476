import functools

import pytest
from absl import flags as absl_flags

from larq_nas import augmentations, flags, methods, precision, recipes

COMMANDS = ("search", "train", "convert", "evaluate", "zoo")
RECIPES = [(command, name) for command in COMMANDS for name in flags.recipes(command)]


@functools.cache
def parse(command, *words):
    """Values by name, choices by name, and the words that are no flags."""
    needed = ["--genotype=bnas_a"] if command == "train" else []
    settings, names = flags.define(command)
    rest = settings([command, *needed, *words])[1:]
    choices = {name: getattr(settings[name].parser, "enum_values", None) for name in names}
    return {name: settings[name].value for name in names}, choices, rest


def lines(command, name):
    text = flags.recipe_path(command, name).read_text(encoding="utf-8").splitlines()
    return [line for line in text if line and not line.startswith("#")]


def test_recipes_are_found_by_command():
    assert {"bnas_cifar10", "quickstart"} <= set(flags.recipes("search"))
    assert {"bnas_cifar10", "bnas_imagenet", "quickstart"} <= set(flags.recipes("train"))
    assert flags.recipes("zoo") == []


@pytest.mark.parametrize(("command", "name"), RECIPES)
def test_recipe_sets_what_it_says_with_the_flags_of_its_command(command, name):
    values, _, rest = parse(command, f"--flagfile={flags.recipe_path(command, name)}")
    assert rest == []
    said = dict(line.removeprefix("--").split("=") for line in lines(command, name))
    read = {
        key: text.split(",")
        if isinstance(values[key], list)
        else {"true": True, "false": False}[text]
        if isinstance(values[key], bool)
        else type(values[key])(text)
        for key, text in said.items()
    }
    assert said and read == {key: values[key] for key in said}


@pytest.mark.parametrize(("command", "name"), RECIPES)
def test_recipe_says_how_to_launch_it_and_a_published_one_its_paper(command, name):
    text = flags.recipe_path(command, name).read_text(encoding="utf-8")
    assert f"#   larq_nas {command} --flagfile={name}" in text
    assert "https://arxiv.org/abs/" in text or not name.startswith("bnas")


@pytest.mark.parametrize("command", ["search", "train"])
def test_defaults_are_the_published_values_for_cifar10(command):
    defaults, _, _ = parse(command, "--dataset=cifar10")
    published, _, _ = parse(command, f"--flagfile={flags.recipe_path(command, 'bnas_cifar10')}")
    assert defaults == published


def test_choices_are_what_the_library_knows():
    _, search, _ = parse("search")
    _, train, _ = parse("train")
    assert tuple(search["method"]) == methods.METHODS
    assert tuple(search["augmentation"]) == tuple(train["augmentation"]) == augmentations.NAMES
    assert tuple(search["precision"]) == tuple(train["precision"]) == precision.POLICIES
    assert tuple(train["schedule"]) == recipes.SCHEDULES


def test_data_set_is_the_embedded_one_by_default():
    for command in ("search", "train"):
        values, _, _ = parse(command)
        assert (values["dataset"], values["data_dir"], values["overwrite"]) == ("digits", None, False)


def test_commands_that_follow_each_other_share_their_default_directory():
    directories = {command: parse(command)[0]["run_dir"] for command in ("search", "train", "convert", "evaluate")}
    assert directories["train"] == directories["convert"] == directories["evaluate"] != directories["search"]


@pytest.mark.parametrize("command", ["search", "train"])
def test_identity_of_a_run_leaves_out_flags_that_exist(command):
    assert set(parse(command)[0]) >= flags.NOT_IDENTITY


def test_define_leaves_other_flags_alone():
    before = set(absl_flags.FLAGS)
    settings, names = flags.define("zoo")
    assert names == ["pattern", "costs", "json"] and set(absl_flags.FLAGS) == before
    assert "verbosity" in settings and "batch_size" not in settings


def test_flags_of_two_commands_do_not_know_each_other():
    first, _ = flags.define("train")
    first(["train", "--genotype=bnas_a", "--epochs=3"])
    second, _ = flags.define("train")
    second(["train", "--genotype=bnas_b"])
    assert (first.epochs, second.epochs, second.genotype) == (3, 600, "bnas_b")


@pytest.mark.parametrize("command", ["search", "train", "evaluate", "convert", "benchmark", "costs"])
def test_home_directory_stands_for_the_tilde_in_every_path(command, monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    settings, names = flags.define(command)
    paths = [name for name in flags.PATHS if name in names]
    settings([command, *(f"--{name}=~/a b" for name in paths), *(["--genotype=x"] * (command == "costs"))])
    flags.expand_paths(settings)
    for name in paths:
        value = settings[name].value
        expected = "x" if (command, name) == ("costs", "genotype") else "/home/ada/a b"
        assert value == ([expected] if isinstance(value, list) else expected), name


@pytest.mark.parametrize("text", ["40%", "100%", "2096M", "1000"])
def test_a_budget_is_a_number_or_a_share(text):
    assert flags._is_budget(text)


@pytest.mark.parametrize("text", ["0%", "101%", "-4%", "%", "4.5%%", "many", "0"])
def test_other_budgets_are_refused(text):
    assert not flags._is_budget(text)
