import dataclasses
import pathlib

import numpy as np
import pytest

from larq_nas import options, zoo
from larq_nas.methods.dms import DmsConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(options.Config):
    heading = "base"

    epochs: int = options.option(50, "passes", least=1, most=100)
    rate: float = options.option(0.1, "rate", least=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Paths(options.Config):
    where: str = options.option("runs", "where", is_path=True)
    several: tuple[str, ...] = options.option((), "several", is_path=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Base):
    heading = "own"

    epochs: int = options.changed_default(Base, "epochs", 7)
    name: str = options.option(help="required")
    kind: str = options.option("a", "kind", choices=("a", "b"))
    shape: tuple[int, ...] | None = options.option(None, "shape", check=lambda s: len(s) == 2, accepted="give two")
    quick: bool = options.option(False, "quick", identity=False)


def test_a_subclass_may_have_another_default_and_keeps_the_rest():
    assert Own(name="x").epochs == 7
    assert options.options(Own)["epochs"] == options.options(Base)["epochs"]
    assert options.heading_of(Own, "epochs") == "base" and options.heading_of(Own, "name") == "own"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"epochs": 101}, "epochs=101: must be at most 100"),
        ({"epochs": "3"}, "epochs='3': accepted is a value of type int"),
        ({"epochs": True}, "epochs=True: accepted is a value of type int"),
        ({"epochs": None}, "epochs: a value is missing"),
        ({"rate": float("nan")}, "rate=nan: is not a finite number"),
        ({"kind": "c"}, "kind='c': accepted are a, b"),
        ({"shape": (1, 2, 3)}, "shape=1,2,3: give two"),
        ({"shape": 3}, "shape=3: accepted are several values"),
        ({"shape": ("a", "b")}, r"shape=\('a', 'b'\): accepted is a value of type int"),
        ({"quick": 1}, "quick=1: accepted is a value of type bool"),
    ],
)
def test_a_wrong_value_is_refused_from_python(values, said):
    with pytest.raises(options.OptionError, match=f"^{said}"):
        Own(**{"name": "x"} | values)


def test_values_of_numpy_paths_and_integers_become_what_the_command_line_gives(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    config = Own(name="x", rate=np.float64(0.5), epochs=np.int64(3), quick=np.bool_(True), kind=np.str_("b"))
    assert config == Own(name="x", rate=0.5, epochs=3, quick=True, kind="b") and type(config.epochs) is int
    assert config.texts()["rate"] == "0.5"
    # As the command line would read it.
    assert Own(name="x", rate=1).texts()["rate"] == "1.0"
    assert Paths(where=pathlib.Path("~/a"), several=["~/b", pathlib.Path("c")]) == Paths(
        where="/home/ada/a", several=("/home/ada/b", "c")
    )


def test_an_architecture_is_known_by_what_it_is_and_not_where_it_comes_from():
    a, b = zoo.genotype("bars_a"), zoo.genotype("bars_b")
    texts = [DmsConfig(backbone=genotype).texts()["backbone"] for genotype in (a, b)]
    assert texts[0] != texts[1] and texts[0].startswith("sha256:")
    assert DmsConfig(backbone=dataclasses.replace(a, provenance={"by": "me"})).texts()["backbone"] == texts[0]


def test_texts_are_the_values_that_make_a_run_what_it_is():
    config = Own(name="x", rate=1, shape=[3, 4], quick=True)
    assert config.shape == (3, 4)
    assert Own(name=pathlib.Path("a/b")).name == "a/b"
    assert config.texts() == {"epochs": "7", "rate": "1.0", "name": "x", "kind": "a", "shape": "3,4"}
    assert "shape" not in config.replace(shape=None).texts()
