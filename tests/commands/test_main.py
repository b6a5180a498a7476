import importlib.metadata
import json
import os
import subprocess
import sys

import pytest
from absl import flags as absl_flags

from larq_nas import __main__ as main
from larq_nas import flags, methods, zoo
from larq_nas.flags import recipe_files
from larq_nas.methods import bars, dms

# Runs a command line, and fails where it loaded what makes an answer slow.
LIGHT = """
import sys
from larq_nas.__main__ import main
code = main(sys.argv[1:])
heavy = {"tensorflow", "keras", "tf_keras", "larq", "larq_compute_engine", "tensorflow_datasets"} & set(sys.modules)
assert not heavy, heavy
sys.exit(code)
"""
# Runs a command line whose task does something else.
FAKE = """
import dataclasses, json, logging, sys, types
from larq_nas.__main__ import main
from larq_nas.tasks import search, train
def task(config):
    {body}
search._search = train._train = task
tensorflow = types.ModuleType("tensorflow")
tensorflow.get_logger = logging.getLogger
sys.modules["tensorflow"] = tensorflow
sys.exit(main(sys.argv[1:]))
"""
# Prints the configuration.
SHOW = "print(json.dumps({'method': getattr(config, 'method', None), **dataclasses.asdict(config)}))"


def in_words(value):
    return " ".join(value) if isinstance(value, list) else None


def python(folder, *arguments):
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def cli(tmp_path):
    """Runs `larq_nas WORDS` in an empty folder."""
    return lambda *words: python(tmp_path, "-m", "larq_nas", *words)


@pytest.fixture
def light(tmp_path):
    return lambda *words: python(tmp_path, "-c", LIGHT, *words)


@pytest.fixture
def received(tmp_path):
    """The configuration with which a task is called."""

    def received(*words):
        result = python(tmp_path, "-c", FAKE.replace("{body}", SHOW), *words)
        assert result.returncode == 0, result.stderr
        # The last line is the artefact.
        return json.loads(result.stdout.splitlines()[-2])

    return received


def fails(result, code, *fragments):
    """One line on stderr, nothing on stdout but the name of the recipe."""
    assert result.returncode == code, result.stderr
    assert result.stdout in ("", "recipe bnas_quickstart; choose another with --flagfile\n")
    assert result.stderr.startswith("larq_nas: ") and result.stderr.count("\n") == 1, result.stderr
    for fragment in fragments:
        assert fragment in result.stderr


# --- help ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_the_commands_without_tensorflow(light, word):
    result = light(word)
    assert result.returncode == 0, result.stderr
    for command, text in main.COMMANDS.items():
        assert f"{command} " in result.stdout and text in result.stdout


def test_no_command_shows_the_help_and_is_an_error(cli):
    result = cli()
    assert result.returncode == 2
    assert "usage: larq_nas COMMAND" in result.stdout


@pytest.mark.parametrize("word", ["--help", "-h", "--helpshort", "--helpfull"])
@pytest.mark.parametrize("command", main.COMMANDS)
def test_help_of_a_command_comes_without_tensorflow(light, command, word):
    result = light(command, word)
    assert result.returncode == 0, result.stderr
    assert f"usage: larq_nas {command} " in result.stdout and "--verbosity" in result.stdout
    # Without --method, a search is one by BNAS.
    for recipe in flags.recipes(command):
        assert (recipe in result.stdout) == (command != "search" or recipe.startswith("bnas_"))


def test_help_shows_defaults_choices_and_only_methods_that_exist(cli):
    text = cli("search", "--help").stdout
    assert f"--method <{'|'.join(methods.names())}>: " in text
    assert "--batch_size: examples per step, on all devices together (default: 64)" in text
    assert "--augmentation <none|crop|crop_flip|crop_flip_cutout|imagenet>: " in text
    assert "--genotype: " in cli("train", "--help").stdout
    evolution = cli("search", "--method=evolution", "--help").stdout
    assert "--generations: " in evolution and "--layers: " in evolution


def test_console_script_is_this_program():
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="larq_nas")
    assert script.load() is main.run


# --- bad words: 1 and 2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("serch", "did you mean search?"),
        ("trian", "did you mean train?"),
        ("xyz", "commands: search, train, tune, compare"),
    ],
)
def test_unknown_command_suggests_one(cli, word, hint):
    fails(cli(word), 2, f"unknown command '{word}'", hint)


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        (["search", "--epoch=3"], ["'epoch'", "Did you mean: epochs"]),
        (["search", "--genotype=bnas_a"], ["'genotype'"]),
        (
            ["search", "--flagfile=quikstart"],
            ["quikstart", "bnas_cifar10, bnas_cifar10_cpu, bnas_images", "dms_images, dms_quickstart)"],
        ),
        (["zoo", "--flagfile=quickstart"], ["no recipe of zoo", "none"]),
        (["zoo", "bnas_a"], ["unexpected 'bnas_a'", "--name=value"]),
        (["zoo", "--pattern=bnas*", "bnas_a"], ["unexpected 'bnas_a'"]),
        (["search", "--overwrite", "true"], ["unexpected 'true'"]),
        (["search", "--epochs=0"], ["--epochs=0", "positive"]),
        (["search", "--epochs=many"], ["--epochs=many"]),
        (["search", "--epochs"], ["epochs"]),
        (["search", "--learning_rate=-1"], ["--learning_rate=-1"]),
        (["search", "--method=darts"], ["--method=darts", "|".join(methods.names())]),
        (["train"], ["--genotype"]),
        (["train", "--genotype=bats", "--stages=weights,activations"], ["--stages", "activations,weights or weights"]),
        (["search", "--method=bats", "--groups=many"], ["--groups=many", "give a number, or lce"]),
        (["costs"], ["--genotype"]),
        (["costs", "--genotype=bnas_a", "--input_shape=32,32"], ["--input_shape", "height, width and channels"]),
        (["costs", "--genotype=bnas_a", "--input_shape=32,32,rgb"], ["--input_shape", "positive integers"]),
        (["costs", "--genotype=bnas_a", "--num_classes=0"], ["--num_classes=0"]),
        (["zoo", "--verbosity=loud"], ["--verbosity=loud"]),
    ],
    ids=in_words,
)
def test_bad_flag_is_refused_in_one_line(cli, words, fragments):
    fails(cli(*words), 1, f"larq_nas: {words[0]}: ", *fragments, f"see larq_nas {words[0]} --help")


@pytest.mark.parametrize("content", ["--colour=red\n", "word\n", b"\xff\xfe\x00"], ids=["flag", "word", "binary"])
def test_bad_flag_file_is_refused_in_one_line(cli, tmp_path, content):
    (tmp_path / "mine.flags").write_bytes(content if isinstance(content, bytes) else content.encode())
    fails(cli("search", "--flagfile=mine.flags"), 1)


# --- recipes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "recipe"),
    [
        (["search"], "bnas_quickstart"),
        (["search", "--dataset=folder:cats"], "bnas_images"),
        (["search", "--dataset=cifar10"], "bnas_cifar10"),
        (["search", "--dataset=cifar10:3.0.2"], "bnas_cifar10"),
        (["train", "--genotype=bnas_a"], "bnas_quickstart"),
        (["train", "--genotype=bnas_a", "--dataset=cifar10"], "bnas_cifar10"),
        (["train", "--genotype=bnas_d", "--dataset=imagenet2012"], "bnas_imagenet"),
        (["train", "--genotype=bnas_d", "--dataset=imagenet2012:5.1.0"], "bnas_imagenet"),
        (["search", "--method=bars"], "bars_quickstart"),
        (["search", "--method=bars", "--dataset=cifar10"], "bars_cifar10"),
        (["search", "--method=bars", "--dataset=imagenet2012"], "bars_imagenet"),
        (["search", "--method=dms"], "dms_quickstart"),
        (["search", "--method=bats"], "bats_quickstart"),
        (["search", "--method=bats", "--nobinarize"], "bats_real_quickstart"),
        (["search", "--method=bats", "--dataset=cifar10"], "bats_cifar10"),
        (["search", "--method=bats", "--binarize=false", "--dataset=cifar10"], "bats_real_cifar10"),
        (["train", "--genotype=bats"], "bats_quickstart"),
        (["train", "--genotype=vgg11"], "dms_quickstart"),
        (["train", "--genotype=resnet18", "--dataset=imagenet2012"], "dms_imagenet"),
        (["train", "--genotype=xnor_resnet34"], "bars_quickstart"),
        (["train", "--genotype=bireal_resnet18", "--dataset=cifar10"], "bars_cifar10"),
        (["train", "--genotype=bats_real_2_5m", "--dataset=cifar10"], "bats_real_cifar10"),
        (["train", "--genotype=bats_2x", "--dataset=imagenet2012"], "bats_imagenet"),
        (["search", "--method=dms", "--dataset=cifar10"], "dms_cifar10"),
    ],
    ids=in_words,
)
def test_data_set_decides_the_recipe(received, words, recipe):
    assert received(*words) == received(words[0], f"--flagfile={recipe}", *words[1:])


def test_recipe_of_a_method_is_found_without_its_name(received):
    found = received("search", "--method=bars", "--flagfile=quickstart")
    assert found == received("search", "--flagfile=bars_quickstart")
    assert "budget" in found and not {"layers", "diversity"} & set(found)


def test_training_takes_the_recipe_of_the_genotype(received, tmp_path):
    (tmp_path / "mine.json").write_text(bars.space(8).sample(0).to_json())
    found = received("train", "--genotype=mine.json", "--dataset=cifar10")
    assert found == received("train", "--flagfile=bars_cifar10", "--genotype=mine.json")
    assert found["optimizer"] == "adam"
    (tmp_path / "mine.json").write_text(dms.space("resnet18").to_json())
    found = received("train", "--genotype=mine.json", "--dataset=cifar10")
    assert found == received("train", "--flagfile=dms_cifar10", "--genotype=mine.json")
    assert found["milestones"] == [140, 220, 260]


@pytest.mark.parametrize(
    ("words", "flag"),
    [(["--method=bars", "--layers=5"], "--layers"), (["--budget=1M"], "--budget"), (["--nogumbel"], "--gumbel")]
    + [(["--method=dms", "--filters=8"], "--filters"), (["--method=bars", "--rounds=2"], "--rounds")]
    + [(["--method=dms", "--layers=8"], "--layers"), (["--method=bnas", "--groups=2"], "--groups")],
    ids=in_words,
)
def test_flag_of_another_method_is_refused(cli, words, flag):
    fails(cli("search", *words), 1, f"{flag} is no flag of --method=")


@pytest.mark.parametrize("epochs", ["0", "3,2", "3,3", "a", "1.5"])
def test_milestones_that_do_not_rise_are_refused(cli, epochs):
    fails(cli("train", "--genotype=bnas_a", f"--milestones={epochs}"), 1, "milestones", "e.g. 140,220,260")


@pytest.mark.parametrize("amount", ["-1M", "0", "many", "inf", "nan", "1T"])
def test_budget_that_is_no_amount_is_refused(cli, amount):
    fails(cli("search", "--method=bars", f"--budget={amount}"), 1, "budget", "e.g. 2096M")


def test_own_flags_win_over_the_recipe_of_the_data_set(received):
    quickstart, own = received("search"), received("search", "--epochs=7", "--nooverwrite")
    # The warm-up of the recipe is for more epochs.
    assert own == {**quickstart, "epochs": 7, "warmup_epochs": 2} != quickstart


def test_own_flag_file_takes_the_place_of_the_recipe(received, tmp_path):
    (tmp_path / "mine.flags").write_text("# mine\n--epochs=7\n")
    published = received("search", "--dataset=cifar10")
    assert received("search", "--flagfile=mine.flags") == {**published, "dataset": "digits", "epochs": 7}


def test_folder_with_the_name_of_a_recipe_does_not_hide_it(received, tmp_path):
    (tmp_path / "quickstart").mkdir()
    assert received("search", "--flagfile=quickstart") == received("search")


def test_recipe_may_stand_after_its_flag(received):
    assert received("search", "--flagfile", "bnas_cifar10") == received("search", "--flagfile=bnas_cifar10")


# --- failures: 3 ---------------------------------------------------------------------------------------------


def test_missing_genotype_names_the_models_of_the_zoo(cli):
    fails(cli("train", "--genotype=nope"), 3, "train: genotype=nope: no such file", "bnas_a, bnas_b")


def test_genotype_that_is_a_space_is_refused(cli, tmp_path):
    text = zoo.genotype("bnas_a").to_json()
    (tmp_path / "space.json").write_text(text.replace('"none"', '"none", "bin_conv_3x3"', 1))
    fails(cli("train", "--genotype=space.json"), 3, "space.json: is a search space, not a genotype")


def test_broken_genotype_is_refused_by_file_and_place(cli, tmp_path):
    text = zoo.genotype("bnas_a").to_json()
    (tmp_path / "mine.json").write_text(text.replace('"source": 1', '"source": 9', 1))
    fails(cli("train", "--genotype=mine.json"), 3, "mine.json: cells.normal.nodes[0].edges[0].source: 9 is not")


@pytest.mark.parametrize("command", ["convert", "evaluate"])
def test_directory_that_holds_no_training_is_refused(cli, tmp_path, command):
    fails(cli(command, "--run_dir=runs/none"), 3, "runs/none", "missing", "larq_nas train")
    assert not (tmp_path / "runs").exists()


def test_pattern_that_no_model_matches_names_the_models(cli):
    fails(cli("zoo", "--pattern=q*"), 3, "--pattern=q*", "bireal_resnet18, bnas_a")


def test_verbosity_1_shows_where(cli):
    result = cli("zoo", "--pattern=q*", "--verbosity=1")
    assert result.returncode == 3 and result.stdout == ""
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("larq_nas: zoo: --pattern=q*")


def test_unforeseen_error_becomes_one_line_with_its_kind(tmp_path):
    code = FAKE.format(body="raise OSError('disk\\n  full')")
    fails(python(tmp_path, "-c", code, "search"), 3, "search: OSError: disk full", "--verbosity=1")


def test_interruption_says_how_to_go_on(tmp_path):
    code = FAKE.format(body="raise KeyboardInterrupt")
    train = ("-c", code, "train", "--genotype=x")
    fails(python(tmp_path, *train), 3, "train: interrupted; the same command goes on")
    # With this flag it would begin again.
    fails(python(tmp_path, *train, "--overwrite"), 3, "the same command without --overwrite goes on")


def test_termination_is_an_interruption_that_frees_the_directory(tmp_path):
    code = FAKE.format(body="import time; print('at work', flush=True); time.sleep(60)")
    words = [sys.executable, "-c", code, "train", "--genotype=x", "--run_dir=lr[1]"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("recipe") and process.stdout.readline() == "at work\n"
    # The same command meanwhile, and another that would write there.
    for command in (words, [*words, "--overwrite"], [sys.executable, "-m", "larq_nas", "convert", "--run_dir=lr[1]"]):
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        fails(second, 3, f"lr[1]: is in use by process {process.pid} of ")
    process.terminate()
    _, said = process.communicate(timeout=30)
    assert process.returncode == 3 and "train: interrupted; the same command goes on" in said
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path):
    code = FAKE.format(body="raise OSError(28, 'No space left on device', 'weights.h5')")
    fails(python(tmp_path, "-c", code, "search"), 3, "search: no space is left on the disk; free some")


def piped(folder, reader, *arguments):
    """stdout is read only in part."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    reader(process.stdout)
    process.stdout.close()
    code = process.wait(60)
    with process.stderr:
        return code, process.stderr.read()


@pytest.mark.parametrize("words", [["zoo"], ["zoo", "--json"], ["--help"], ["search", "--help"]], ids=in_words)
@pytest.mark.parametrize("reader", [lambda stdout: None, lambda stdout: stdout.read(1)], ids=["nothing", "something"])
def test_output_that_nobody_reads_is_no_error(tmp_path, words, reader):
    assert piped(tmp_path, reader, "-m", "larq_nas", *words) == (0, "")


@pytest.mark.parametrize("show", ["print(9 * 'x' * 10**6)", "from rich.console import Console; Console().print('x')"])
def test_a_training_whose_output_nobody_reads_ends_without_a_word(tmp_path, show):
    code = FAKE.format(body=f"import time; time.sleep(1); {show}").replace("import main", "import run as main")
    assert piped(tmp_path, lambda stdout: None, "-c", code, "train", "--genotype=x") == (3, "")


def test_output_that_cannot_be_written_is_named(tmp_path):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "larq_nas", "zoo"], cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "o space" in done.stderr


# --- zoo -----------------------------------------------------------------------------------------------------


def test_zoo_lists_all_models_without_tensorflow(light):
    result = light("zoo")
    assert result.returncode == 0 and result.stderr == ""
    header, *rows = [line.split() for line in result.stdout.splitlines()]
    assert header[:3] == ["model", "parameters", "MB"]
    assert [row[0] for row in rows] == zoo.list_models()
    sizes = {row[0]: row[1] for row in rows}
    assert (sizes["bnas_a"], sizes["bnas_c"], sizes["vgg11"]) == ("5,578,252", "42,360,532", "579,105")
    # A size that was not filled in would show as 0.
    assert all(float(row[2]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["costs", "--genotype=bars_c"], "10,909,338"),
        (["costs", "--genotype=xnor_resnet18"], "11,173,066"),
        (["zoo", "--costs", "--pattern=bars_c"], "10,909,338"),
    ],
)
def test_networks_are_counted_without_tensorflow(light, words, params):
    result = light(*words)
    assert result.returncode == 0 and result.stderr == ""
    assert params in result.stdout


def test_zoo_lists_what_a_pattern_matches(cli):
    rows = cli("zoo", "--pattern=bnas_[ab]").stdout.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["bnas_a", "bnas_b"]


# --- several command lines in one process --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["zoo", "--pattern=bnas_[ab]"], 0),
        (["zoo", "--patern=bnas_[ab]"], 1),
        (["zoo", "--verbosity=loud"], 1),
        (["zo"], 2),
        (["zoo", "--pattern=q"], 3),
        (["zoo", "--help"], 0),
        (["train", "--help"], 0),
        (["search", "--help"], 0),
        (["train", "--genotype=bnas_a", "--epochs=x"], 1),
        (["zoo", "--json"], 0),
        (["zoo", "--pattern=q", "--verbosity=1"], 3),
    ],
    ids=in_words,
)
def test_a_command_line_leaves_the_next_alone(capsys, words, code):
    assert main.main(words) == code
    capsys.readouterr()
    assert main.main(["zoo", "--pattern=bnas_[ab]"]) == 0
    shown = capsys.readouterr()
    assert [row.split()[0] for row in shown.out.splitlines()] == ["model", "bnas_a", "bnas_b"]
    # These share flags with others, which not all methods have.
    assert main.main(["benchmark", "--models=nope.tflite"]) == 3
    assert "nope.tflite" in capsys.readouterr().err
    assert main.main(["zoo", "--pattern=q"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_flags_of_the_caller_are_left_alone(capsys):
    before = {name: absl_flags.FLAGS[name].value for name in absl_flags.FLAGS if name not in ("verbosity", "v")}
    assert main.main(["zoo", "--pattern=bnas_a"]) == 0
    assert {name: absl_flags.FLAGS[name].value for name in absl_flags.FLAGS if name not in ("verbosity", "v")} == before


def test_the_later_of_two_flag_files_wins(received, tmp_path):
    (tmp_path / "a.flags").write_text("--epochs=7\n--seed=3\n")
    (tmp_path / "b.flags").write_text("--epochs=9\n")
    found = received("search", "--flagfile=a.flags", "--flagfile", "b.flags")
    assert (found["epochs"], found["seed"]) == (9, 3)
    both = received("search", "--flagfile=quickstart", "--flagfile=b.flags")
    assert both == {**received("search"), "epochs": 9}


@pytest.mark.parametrize(
    ("command", "method", "dataset", "recipe"),
    [
        ("search", "bnas", "digits", "bnas_quickstart"),
        ("search", "bnas", "folder:photos", "bnas_images"),
        ("search", "bars", "mnist", "bars_images"),
        ("search", "bats_real", "folder:photos", "bats_real_images"),
        ("search", "dms", "digits", "dms_quickstart"),
        ("train", "bars", "folder:photos", "bars_images"),
        ("train", "dms", "folder:photos", "dms_images"),
        ("train", "bats", "folder:photos", "bats_images"),
        ("train", "dms", "cifar10", "dms_cifar10"),
        ("train", "bnas", "imagenet2012", "bnas_imagenet"),
        ("train", "bnas", "cifar10", None),
    ],
)
def test_the_recipe_follows_from_method_and_images(command, method, dataset, recipe):
    assert recipe_files.default(command, dataset, method) == recipe


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ([], 180),
        (["--epochs=3"], None),
        (["--epochs=3", "--steps=50"], 50),
        (["--flagfile=images", "--epochs=3"], None),
    ],
)
def test_epochs_on_the_command_line_win_over_the_steps_of_a_recipe(words, steps):
    config = flags.parse("search", ["--dataset=folder:photos", *words]).config
    assert config.steps == steps and config.epochs == (3 if "--epochs=3" in words else 12)
    # A recipe's warm-up is for its own length.
    assert config.warmup_epochs == (1 if "--epochs=3" in words else 4)


@pytest.mark.parametrize(
    ("cores", "batch_size", "threads"), [(2, 32, "1"), (1, 16, "1"), (2, 33, None), (2, None, None), (4, 16, None)]
)
def test_small_batches_take_one_thread_for_an_operation_on_few_cores(cores, batch_size, threads, monkeypatch):
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "")
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    monkeypatch.setattr(main, "_cores", lambda: cores)
    main.load_tensorflow(batch_size)
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == threads
