import dataclasses
import pathlib

import pytest

from larq_nas import options


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base(options.Config):
    heading = "base"

    epochs: int = options.option(50, "passes", least=1, most=100)
    rate: float = options.option(0.1, "rate", least=0)


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
        ({"rate": float("nan")}, "rate=nan: is not a number"),
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


def test_texts_are_the_values_that_make_a_run_what_it_is():
    config = Own(name="x", rate=1, shape=[3, 4], quick=True)
    assert config.shape == (3, 4)
    assert Own(name=pathlib.Path("a/b")).name == "a/b"
    assert config.texts() == {"epochs": "7", "rate": "1", "name": "x", "kind": "a", "shape": "3,4"}
    # Of values that are no texts or numbers there is no text.
    assert "shape" not in config.replace(shape=None).texts()
