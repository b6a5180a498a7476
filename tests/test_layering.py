import ast
import graphlib
import pathlib
import re
import subprocess
import sys

import pytest

from larq_nas.space import registry

ROOT = pathlib.Path(__file__).parent.parent
# Folder in the repository -> where it is installed.
FOLDERS = {
    "larq_nas": "larq_nas",
    "zoo": "larq_nas.zoo",
    "flags": "larq_nas.flags",
    "converters": "larq_nas.converters",
}
# Who may import whom: a room, which is a folder or a module beside the folders, only rooms that stand before it.
ORDER = [
    "_tensorflow",
    "lazy",
    "quiet",
    "messages",
    "versions",
    "names",
    "options",
    "space",
    "layers",
    "networks",
    "runs",
    "tables",
    "plots",
    "costs",
    "latency",
    "supernet",
    "datasets",
    "training",
    "configs",
    "methods",
    "zoo",
    "converters",
    "devices",
    "tasks",
    "tuning",
    "flags",
    "api",
    "commands",
    "__main__",
]
# These answer at once, or run where TensorFlow is not needed.
LIGHT = [
    "_tensorflow",
    "space.registry",
    "space.architecture",
    "space.choices",
    "space.stages",
    "networks.blocks",
    "networks.cells",
    "networks.operations",
    "networks.stems",
    "networks.templates",
    "networks.verbs",
    "networks.counting",
    "networks.layer_costs",
    "networks.segments",
    "networks.reachability",
    "costs",
    "runs",
    "runs.locks",
    "runs.fingerprints",
    "quiet",
    "messages",
    "versions",
    "names",
    "options",
    "configs",
    "zoo",
    "flags",
    "methods",
    "methods.bnas",
    "methods.bars",
    "methods.bats",
    "methods.dms",
    "methods.bnas.network",
    "methods.bars.network",
    "methods.bats.network",
    "methods.dms.network",
    "tables",
    "tasks.accuracies",
    "tasks.compare",
    "tasks.rank",
    "tasks.search",
    "tasks.train",
    "tasks.convert",
    "tasks.evaluate",
    "tasks.benchmark",
    "api",
    "commands",
    "__main__",
    "converters.interpreter",
    "devices",
    "devices.benchmark_program",
    "devices.timing",
]


def sources():
    """Module name -> path of every file of the package."""
    modules = {}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
            modules[".".join(parts).removesuffix(".__init__")] = path
    return modules


MODULES = sources()


def imports(module):
    """What a module imports, at its top or in a function."""
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: a relative import does not survive `package_dir`"
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                is_value = name.startswith("larq_nas.") and name not in MODULES
                yield node.module if is_value else name


def room(module):
    return module.split(".")[1]


def own(module):
    return {name for name in imports(module) if name.split(".")[0] == "larq_nas"}


def test_every_module_has_its_place_in_the_order():
    assert {room(module) for module in MODULES if module != "larq_nas"} == set(ORDER)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"larq_nas"}))
def test_module_imports_only_what_stands_before_it(module):
    for name in own(module):
        assert name in MODULES, f"{module} imports {name}"
        assert name != "larq_nas", f"{module} imports the whole package, which hides from whom it takes what"
        before = ORDER.index(room(name)) < ORDER.index(room(module))
        assert before or room(name) == room(module), f"{module} imports {name}, which stands after it"


def test_package_itself_imports_only_what_chooses_keras_2():
    assert own("larq_nas") == {"larq_nas._tensorflow"}


def test_no_circles():
    # Raises CycleError, which names them.
    order = list(graphlib.TopologicalSorter({module: own(module) for module in MODULES}).static_order())
    assert len(order) == len(MODULES)


def test_methods_do_not_know_each_other():
    modules = [module for module in MODULES if module.startswith("larq_nas.methods.")]
    methods = {module: module.split(".")[2] for module in modules}
    assert set(methods.values()) == {*registry.METHODS, "evolution", "random"}
    for module, method in methods.items():
        assert {methods[name] for name in own(module) if name in methods} <= {method}, module


def test_only_the_lazy_packages_import_by_name():
    # What is imported by name would pass the checks above unseen.
    by_name = {module for module in MODULES if {"importlib", "importlib.import_module"} & set(imports(module))}
    assert by_name == {"larq_nas", "larq_nas.lazy", "larq_nas.methods", "larq_nas.space.registry"}
    assert not any("__import__(" in path.read_text(encoding="utf-8") for path in MODULES.values())


@pytest.mark.parametrize(
    "module",
    [
        "space.registry",
        "space.architecture",
        "space.choices",
        "space.stages",
        "networks.blocks",
        "networks.cells",
        "networks.operations",
        "networks.stems",
        "networks.templates",
        "networks.verbs",
        "networks.counting",
        "networks.reachability",
        "runs",
        "runs.locks",
        "quiet",
        "names",
        "options",
    ],
)
def test_ground_floor_needs_only_the_standard_library(module):
    assert {name.split(".")[0] for name in imports(f"larq_nas.{module}")} <= {*sys.stdlib_module_names, "larq_nas"}


def test_absl_flags_are_read_by_the_command_line_only():
    readers = {module for module in MODULES if "absl.flags" in imports(module)}
    assert readers == {"larq_nas.flags.definitions", "larq_nas.flags.command_line"}


def texts(module):
    """The strings of a module, without its docstrings."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    alone = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in alone
    ]


def test_messages_of_the_library_name_options_and_not_flags():
    # A user in Python knows the option `image_size`, but not the flag `--image_size`.
    rooms = {"flags", "commands", "__main__"}
    # They write the flags of `flags.txt`, and those of other processes and of programs on devices.
    others = {"larq_nas.runs", "larq_nas.devices", "larq_nas.devices.timing"}
    others |= {"larq_nas.tasks.compare", "larq_nas.tasks.processes"}
    for module in set(MODULES) - others - {"larq_nas"}:
        if room(module) not in rooms:
            assert not [text for text in texts(module) if re.search(r"--([a-z]|$)", text)], module


@pytest.mark.parametrize("module", LIGHT)
def test_light_module_loads_without_tensorflow(module):
    code = f"import sys, larq_nas.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    assert f"larq_nas.{module}" in loaded
    assert not {"tensorflow", "keras", "tf_keras", "larq", "larq_compute_engine"} & set(loaded)


def test_no_file_names_a_path_outside_the_package():
    # Absolute paths and those that climb out of a folder exist on the machine of their author only.
    recipes = (ROOT / "flags").rglob("*.flags")
    for path in [*MODULES.values(), *recipes, *(ROOT / "zoo").rglob("*.json")]:
        if path == MODULES["larq_nas.devices"]:
            continue  # Its paths are those of every Linux or Android.
        assert not re.findall(r"(?:^|[\s\"'=(`])(?:/\w[\w/.-]*|~/|\.\./)[\w/.-]*", path.read_text(encoding="utf-8"))


def test_commands_start_without_numpy():
    code = "import sys, larq_nas.__main__; larq_nas.__main__.main(['zoo']); print('numpy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "False"


def test_files_of_tests_have_different_names():
    # Without that, pytest cannot collect all of them together.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names)) > 50
