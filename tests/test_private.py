"""Private parts of other libraries are used in one module per library only, whose tests fail if such a part is gone.

Names that begin with an underscore are private, and so are the names that a library does not export. The tests of these
modules are `test_tensorflow_private.py`, `layers/test_keras_private.py`, `layers/test_larq_private.py` and those in
`tuning/`. Of Larq Compute Engine, larq_nas uses public names only.
"""

import ast
import pathlib
import types

import keras_tuner
import larq
import larq_compute_engine
import numpy as np
import pytest
import tensorflow as tf

ROOT = pathlib.Path(__file__).parents[1]
FOLDERS = ("larq_nas", "converters", "flags", "zoo", "benchmarks", "examples", "experiments", "tests")
WRAPPERS = {
    "larq_nas/_tensorflow.py",
    "larq_nas/layers/_keras.py",
    "larq_nas/layers/_larq.py",
    "larq_nas/tuning/_keras_tuner.py",
    "tests/custom_gradients.py",
}
# Tests that are the only users of a private part, and fail if it is gone.
USED_BY_TESTS = {
    # The counts of Larq, with which those of larq_nas are compared.
    "tests/zoo/test_zoo.py": {"lq.models.ModelProfile"},
    # The values that an oracle of KerasTuner draws, without a trial.
    "tests/tuning/test_spaces.py": {"oracle._random_values"},
}
FILES = sorted(str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
# Functions that take the name of an attribute as a string.
BY_NAME = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}
# Public in spite of their underscore.
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}
# Parts of the paths of modules that these libraries do not export.
LIBRARIES = {"tensorflow", "keras", "tf_keras", "keras_tuner", "larq", "larq_compute_engine"}
NOT_EXPORTED = {"python", "src"}


def is_private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def parsed(file):
    return ast.parse((ROOT / file).read_text(encoding="utf-8"))


def defined(tree):
    """The private names that classes of a file define: methods, and attributes of classes and of `self`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from (part.name for part in node.body if isinstance(part, ast.FunctionDef))
            assigned = [part for part in node.body if isinstance(part, (ast.Assign, ast.AnnAssign))]
            names = [name for part in assigned for name in ast.walk(part) if isinstance(name, ast.Name)]
            yield from (name.id for name in names if isinstance(name.ctx, ast.Store))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            yield node.attr


def is_own(value):
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


@pytest.fixture(scope="module")
def foreign():
    """The private names that objects of the libraries have."""
    layers, quantizer = tf.keras.layers, {"kernel_quantizer": "ste_sign", "kernel_constraint": "weight_clip"}
    model = tf.keras.Sequential(
        [layers.Input((4, 4, 2)), larq.layers.QuantConv2D(2, 3, input_quantizer="ste_sign", **quantizer)]
    )
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.zeros((2, 4, 4, 2)), np.zeros((2, 2, 2, 2)), verbose=0)
    functional, optimizers = tf.keras.Model(model.input, model.output), tf.keras.optimizers
    objects = [
        *(model, functional, model.output, model.output.node, model.optimizer, *model.weights),
        *(module for module in model.submodules),
        *(layers.BatchNormalization(), layers.Dense(2), tf.Module(), tf.Variable(1.0), tf.function(len)),
        *(optimizers.Adam(), optimizers.schedules.CosineDecay(0.1, 3), tf.keras.initializers.Zeros()),
        *(tf.keras.callbacks.Callback(), tf.keras.metrics.Mean(), tf.keras.losses.MeanSquaredError()),
        *(larq.quantizers.SteSign(), larq.constraints.WeightClip(), tf.keras.mixed_precision.Policy("float32")),
        *(tf.data.Dataset.range(3), tf.distribute.get_strategy(), tf.Graph(), keras_tuner.HyperParameters()),
        keras_tuner.oracles.RandomSearchOracle("val_loss"),
    ]
    return {name for thing in objects for name in dir(thing) if is_private(name)}


@pytest.fixture(scope="module")
def own(foreign):
    """The private names that only classes of this repository have."""
    return {name for file in FILES for name in defined(parsed(file)) if is_private(name)} - foreign


@pytest.fixture(scope="module")
def wrapped():
    """The private names that the modules for the libraries use."""
    nodes = [node for file in WRAPPERS for node in ast.walk(parsed(file))]
    names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {name for name in names if is_private(name)}


def private_uses(tree, own, foreign, wrapped):
    """Yields the line and a description of each use of a private part of another library."""
    ours, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from refused(node, alias.name.split("."))
                modules[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield from refused(node, [*node.module.split("."), alias.name])
                if is_ours(node.module):
                    ours.add(alias.asname or alias.name)
    roots = {"larq": larq, "larq_compute_engine": larq_compute_engine}
    exporting = {name: roots[path or name] for name, path in modules.items() if (path or name) in roots}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            by_module = isinstance(node.value, ast.Name) and node.value.id in ours
            if node.attr == "__internal__":
                yield node.lineno, "__internal__"
            elif is_private(node.attr) and not by_module and node.attr not in own | NAMED_TUPLE:
                yield node.lineno, f"{ast.unparse(node.value)}.{node.attr}"
            elif not is_exported(node, exporting):
                yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in BY_NAME and node.args:
            if not (isinstance(node.args[0], ast.Name) and node.args[0].id in ours):
                names = [part.value for part in node.args if isinstance(part, ast.Constant)]
                names = [name for name in names if isinstance(name, str) and is_private(name) and name not in own]
                yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Constant) and node.value in wrapped:
            yield node.lineno, repr(node.value)
        elif isinstance(node, ast.ClassDef):
            bodies = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            yield from ((part.lineno, f"def {part.name}") for part in bodies if part.name in foreign)


def is_ours(module):
    """Whether a module is one of this repository: of the package, or beside a test or a script."""
    first = module.split(".")[0]
    return first == "larq_nas" or first in {
        pathlib.Path(file).stem for file in FILES if not file.startswith("larq_nas")
    }


def refused(node, path):
    """Yields an import if it is that of a private name or module of another library."""
    names = path[1:] if path[0] not in LIBRARIES else [part for part in path if part in NOT_EXPORTED] + path[1:]
    private = [name for name in names if is_private(name) or path[0] in LIBRARIES and name in NOT_EXPORTED]
    if private and not is_ours(path[0]):
        yield node.lineno, f"import of {'.'.join(path)}"


def is_exported(node, exporting):
    """Whether an attribute of a module of a library is in the module's `__all__`; true for all other attributes."""
    try:
        module = resolved(node.value, exporting)
    except (AttributeError, KeyError):
        return True
    return not isinstance(module, types.ModuleType) or node.attr in getattr(module, "__all__", [node.attr])


def resolved(node, exporting):
    """The module or object that an expression such as `larq.layers` stands for."""
    if isinstance(node, ast.Name):
        return exporting[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(resolved(node.value, exporting), node.attr)
    raise KeyError


@pytest.mark.parametrize("file", sorted(set(FILES) - WRAPPERS))
def test_private_parts_of_libraries_are_used_in_their_modules_only(file, own, foreign, wrapped):
    uses = private_uses(parsed(file), own, foreign, wrapped)
    found = [f"{file}:{line}: {what}" for line, what in uses if what not in USED_BY_TESTS.get(file, ())]
    assert not found, f"private: {found}; use a public part, or add a function to one of {sorted(WRAPPERS)}"


def test_the_modules_for_libraries_are_there():
    assert set(FILES) >= WRAPPERS


@pytest.mark.parametrize(
    "code",
    [
        "model._flatten_layers()",
        "self._index_dict[0]",
        "self._learning_rate = 3",
        "super()._track_trackable(x, 'x')",
        "models[0].layer._inbound_nodes",
        "getattr(layer, '_outbound_nodes')",
        "tf.function(f, experimental_attributes={'_noinline': True})",
        "tf.__internal__.tracking",
        "class Layer(Convolution):\n    def _jit_compiled_convolution_op(self):\n        pass",
        "from tensorflow.python.framework import ops",
        "from tensorflow.lite.python import schema_py_generated",
        "import keras_tuner.src.config",
        "from larq_compute_engine.tflite.python.interpreter import Interpreter",
        "from numpy import _core",
        "import numpy._core as core",
        "import larq as lq\nlq.models.mac_containing_layers",
        "import larq\nlarq.quantized_variable",
    ],
)
def test_private_parts_are_recognised(code, own, foreign, wrapped):
    assert list(private_uses(ast.parse(code), own, foreign, wrapped))


@pytest.mark.parametrize(
    "code",
    [
        "self._candidate",
        "x._replace(height=3)",
        "layer.inbound_nodes, layer.__class__, _helper(), _",
        "from larq_nas.layers import _keras\n_keras.nodes(model)",
        "from larq_nas.methods.dms import searching\nsearching._save(x)",
        "from larq_nas.methods.dms import searching\nmonkeypatch.setattr(searching, '_save', None)",
        "import larq as lq\nlq.layers.QuantConv2D, lq.context.quantized_scope, lq.math.sign",
        "import larq_compute_engine as lce\nlce.testing.Interpreter",
    ],
)
def test_public_and_own_parts_are_accepted(code, own, foreign, wrapped):
    assert not list(private_uses(ast.parse(code), own, foreign, wrapped))
