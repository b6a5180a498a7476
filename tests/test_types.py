"""All public functions have annotations, and they hold, as far as `[tool.mypy]` in `pyproject.toml` asks."""

import ast
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# These folders lie beside the package in the repository, and are installed inside of it.
FOLDERS = ("zoo", "flags", "converters")


@pytest.mark.skipif(shutil.which("mypy", path=pathlib.Path(sys.executable).parent) is None, reason="needs mypy")
def test_annotations_hold(tmp_path):
    # As it is installed.
    shutil.copytree(ROOT / "larq_nas", tmp_path / "larq_nas")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / "larq_nas" / folder)
    words = [sys.executable, "-m", "mypy", "--config-file", ROOT / "pyproject.toml", "--cache-dir", tmp_path / "cache"]
    done = subprocess.run([*words, "larq_nas"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def functions(body, prefix=""):
    """The public functions and methods of a module or class, with their dotted names."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") or prefix and node.name in ("__init__", "__call__"):
                yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, f"{prefix}{node.name}.")


def missing(function, is_method):
    """The arguments that lack an annotation, and `return` if the function lacks one."""
    decorators = {node.id for node in function.decorator_list if isinstance(node, ast.Name)}
    arguments = function.args.posonlyargs + function.args.args
    if is_method and "staticmethod" not in decorators:
        arguments = arguments[1:]  # `self` or `cls`.
    arguments = [*arguments, *function.args.kwonlyargs, function.args.vararg, function.args.kwarg]
    names = [argument.arg for argument in arguments if argument is not None and argument.annotation is None]
    return names + ["return"] * (function.returns is None)


def test_public_functions_are_annotated():
    found = []
    for folder in ("larq_nas", *FOLDERS):
        for path in sorted((ROOT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for name, function in functions(ast.parse(path.read_text(encoding="utf-8")).body):
                lacking = missing(function, "." in name)
                found += [f"{module}.{name}: {', '.join(lacking)}"] if lacking else []
    assert not found, "without annotation:\n" + "\n".join(found)


def test_a_missing_annotation_is_found():
    source = """
def plain(x, *rest: int, key=1, **more) -> int: ...
def _private(x): ...
class Public:
    def __init__(self): ...
    def __call__(self, x: int) -> int: ...
    @staticmethod
    def static(x) -> None: ...
    @classmethod
    def of_class(cls, x: int) -> None: ...
    def __enter__(self): ...
class _Private:
    def method(self, x): ...
"""
    found = {name: missing(function, "." in name) for name, function in functions(ast.parse(source).body)}
    assert found == {
        "plain": ["x", "key", "more"],
        "Public.__init__": ["return"],
        "Public.__call__": [],
        "Public.static": ["x"],
        "Public.of_class": [],
    }
